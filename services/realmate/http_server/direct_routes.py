"""Routes that never wait for a worker: health and metrics, each request in a greenlet of its own."""

from __future__ import annotations

import time
from collections.abc import Callable

import eventlet
import structlog

from realmate.http_server.metrics import RouteMetrics
from realmate.http_server.rejections import FAILED
from realmate.http_server.request import Request
from realmate.http_server.routes import ResponseSink
from realmate.runtime import exposition
from realmate.wire.responses import Response

log = structlog.get_logger(__name__)


class DirectRoute:
    """The handler behind a direct route. `respond` may block its greenlet, and should not for long."""

    def __init__(self, template: str, respond: Callable[[Request], Response], *, for_guests: bool = False) -> None:
        """With `for_guests`, connections beyond the limit get a response, too."""
        self.for_guests = for_guests
        self._template = template
        self._respond = respond
        self._metrics = RouteMetrics(template)

    def admit(self, _request: Request, _announced_bytes: int | None) -> int:
        return 0  # no direct route has a use for a body

    def submit(self, request: Request, connection: ResponseSink) -> None:
        eventlet.spawn_n(self._run, request, connection)

    def _run(self, request: Request, connection: ResponseSink) -> None:
        try:
            response = self._respond(request)
        except Exception:
            log.exception("direct route failed", route=self._template, request_id=request.request_id)
            response = FAILED
        connection.respond(request, response)
        self._metrics.answered([response.status], [time.monotonic() - request.arrived_at])


def show_metrics(_request: Request) -> Response:
    return Response(200, exposition.render(), exposition.CONTENT_TYPE)
