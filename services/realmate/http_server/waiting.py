"""Requests that may wait for a while: each has a worker of its own, up to a limit.

A batch route is for what is answered at once: there, one request that waits would keep the others of its batch waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from realmate.http_server.draining import DrainingHandler
from realmate.http_server.rejections import FAILED, STOPPING, TOO_MANY_WAIT
from realmate.http_server.request import Request
from realmate.http_server.routes import ResponseSink
from realmate.wire.responses import Response

log = structlog.get_logger(__name__)


class Waiting:
    """One request at work. `finish` answers it, and does nothing the second time."""

    def __init__(self, request: Request, connection: ResponseSink, route: WaitingRoute) -> None:
        self.request = request
        self._connection = connection
        self._route = route

    def finish(self, response: Response) -> None:
        if self._route.forget(self):
            self._connection.respond(self.request, response)
            self._route.metrics.answered([response.status], [time.monotonic() - self.request.arrived_at])

    def fail(self, why: str, error: BaseException | None = None) -> None:
        """Answer a 503; the log gets everything."""
        log.error("request failed", why=why, request_id=self.request.request_id, exc_info=error)
        self.finish(FAILED)


class WaitingRoute(DrainingHandler):
    """The handler behind such a route. `spawn(waiting)` starts a worker, without blocking."""

    def __init__(self, template: str, spawn: Callable[[Waiting], None], most: int) -> None:
        """At most `most` requests are at work."""
        super().__init__(template)
        self._spawn = spawn
        self._most = most
        self._at_work: set[Waiting] = set()

    def admit(self, _request: Request, _announced_bytes: int | None) -> int:
        return 0  # nothing that waits has a use for a body

    def submit(self, request: Request, connection: ResponseSink) -> Response | None:
        if self._stopping:
            return self._reject(STOPPING, "stopping")
        if len(self._at_work) >= self._most:
            return self._reject(TOO_MANY_WAIT, "too_many_wait")
        waiting = Waiting(request, connection, self)
        self._at_work.add(waiting)
        try:
            self._spawn(waiting)
        except Exception as error:  # noqa: BLE001 (the request must be answered, whatever Nameko raises; logged there)
            waiting.fail("no worker could be started", error)
        return None

    def forget(self, waiting: Waiting) -> bool:
        """Whether it was still at work."""
        if waiting not in self._at_work:
            return False
        self._at_work.discard(waiting)
        return True

    @property
    def is_busy(self) -> bool:
        return bool(self._at_work)

    def abandon(self) -> None:
        """Reject all that are at work: their workers are too late, or about to be killed."""
        self._stopping = True
        for waiting in list(self._at_work):
            waiting.fail("the process had to stop before its worker was done")
