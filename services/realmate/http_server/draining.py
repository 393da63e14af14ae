"""The part that handlers with workers share: they count what they answer, and drain."""

from __future__ import annotations

import time

import eventlet

from realmate.http_server import metrics
from realmate.wire.responses import Response

DRAIN_POLL_S = 0.01


class DrainingHandler:
    """A handler whose requests are with workers. A subclass says whether any is: `is_busy`."""

    def __init__(self, template: str) -> None:
        self.metrics = metrics.RouteMetrics(template)
        self._stopping = False

    @property
    def is_busy(self) -> bool:
        """Whether a request that was taken has no response yet."""
        raise NotImplementedError

    def drain(self, deadline: float) -> bool:
        """Wait until all that was taken is answered, then take no more. False if that did not happen in time."""
        while self.is_busy:
            if time.monotonic() >= deadline:
                return False
            eventlet.sleep(DRAIN_POLL_S)
        self._stopping = True
        return True

    def _reject(self, response: Response, reason: str) -> Response:
        metrics.rejected(reason)
        self.metrics.answered([response.status], [])
        return response
