"""Requests that may wait for a while, or have a stream as their response: each has a worker, up to a limit.

A batch route is for what is answered at once: there, one request that waits would keep the others of its batch waiting.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import structlog

from realmate.http_server.draining import DrainingHandler
from realmate.http_server.rejections import FAILED, STOPPING, TOO_MANY_WAIT
from realmate.http_server.request import Request
from realmate.http_server.responses import encode_stream_head
from realmate.http_server.routes import Client
from realmate.http_server.streams import Stream, Streaming
from realmate.wire.responses import Response

log = structlog.get_logger(__name__)


class Waiting:
    """One request at work, until it is answered and its stream, if it has one, is over."""

    def __init__(self, request: Request, connection: Client, route: WaitingRoute) -> None:
        self.request = request
        self._connection = connection
        self._route = route
        self._stream: Stream | None = None

    def finish(self, response: Response) -> None:
        """Answer it. The second time this does nothing."""
        if self._stream is not None:
            self._stream.end()
        elif self._route.forget(self):
            self._connection.respond(self.request, response)
            self._count(response.status)

    def begin(self, streaming: Streaming) -> None:
        """Answer it with a stream, unless it is answered already."""
        if self._stream is not None or not self._route.has(self):
            return
        self._stream = Stream(self._connection, self.request, partial(self._route.forget, self))
        self._connection.begin(self.request, self._stream, encode_stream_head(streaming, self.request))
        self._count(200)
        if self.request.method == "HEAD":
            self._stream.end()
        else:
            streaming.follow(self._stream)

    def _count(self, status: int) -> None:
        self._route.metrics.answered([status], [time.monotonic() - self.request.arrived_at])

    def fail(self, why: str, error: BaseException | None = None) -> None:
        """Answer a 503; the log gets everything."""
        log.error("request failed", why=why, request_id=self.request.request_id, exc_info=error)
        self.finish(FAILED)


class WaitingRoute(DrainingHandler):
    """The handler behind such a route. `spawn(waiting)` starts a worker, without blocking."""

    def __init__(self, template: str, spawn: Callable[[Waiting], None], most: int, *, most_bytes: int = 0) -> None:
        """At most `most` requests are at work, each with a body of at most `most_bytes`."""
        super().__init__(template)
        self._spawn = spawn
        self._most = most
        self._most_bytes = most_bytes
        self._at_work: set[Waiting] = set()

    def admit(self, _request: Request, _announced_bytes: int | None) -> int:
        return self._most_bytes

    def submit(self, request: Request, connection: Client) -> Response | None:
        if self._stopping:
            return self._reject(STOPPING, "stopping")
        if len(self._at_work) >= self._most:
            return self._reject(TOO_MANY_WAIT, "too_many_wait")
        request.peer = connection.peer
        waiting = Waiting(request, connection, self)
        self._at_work.add(waiting)
        try:
            self._spawn(waiting)
        except Exception as error:  # noqa: BLE001 (the request must be answered, whatever Nameko raises; logged there)
            waiting.fail("no worker could be started", error)
        return None

    def has(self, waiting: Waiting) -> bool:
        """Whether it is still at work."""
        return waiting in self._at_work

    def forget(self, waiting: Waiting) -> bool:
        """Remove it. Return whether it was still at work."""
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
