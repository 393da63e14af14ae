"""Requests of one route on their way to workers: a worker takes all that wait.

A lonely request leaves at once. While batches are at work, newcomers gather until they are as many as a batch at work
has on average, or one comes back, or `GATHER_S` have passed; and at most `http_batches_in_flight` are at work. So under
load batches grow by themselves, and are not torn into small ones, each of which would cost as much as a large one.
A batch is also no larger than `http_max_batch_bytes`, so what is at work is bounded in bytes as well.
(What that gives: bench/LOG.md.)
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import eventlet.hubs
import structlog

from realmate.http_server.draining import DrainingHandler
from realmate.http_server.parser import Admit
from realmate.http_server.rejections import FAILED, OVERLOADED, STOPPING, UNSUPPORTED_ENCODING
from realmate.http_server.request import Request
from realmate.http_server.routes import ResponseSink
from realmate.runtime.settings import Settings
from realmate.wire.responses import Response

GATHER_S = 0.01
"""A batch that is stuck, its consumer killed perhaps, keeps newcomers back no longer than this."""

NOT_YET = Response(0, b"")
"""A service returns this for a request for which there was no room in the batch. It comes with the next batch."""

log = structlog.get_logger(__name__)


class RequestBatch:
    """Requests that one worker took. `finish` answers them, and does nothing the second time."""

    def __init__(self, taken: Sequence[tuple[Request, ResponseSink]], queue: BatchQueue) -> None:
        self._taken = taken
        self._queue = queue
        self.size = len(taken)
        self._open = True

    @property
    def requests(self) -> list[Request]:
        return [request for request, _ in self._taken]

    def finish(self, responses: Sequence[Response]) -> None:
        """Send one response for each request, in order."""
        if not self._open:
            return
        self._open = False
        now = time.monotonic()
        statuses: list[int] = []
        seconds: list[float] = []
        waiting: list[tuple[Request, ResponseSink]] = []
        for taken, response in zip(self._taken, responses, strict=True):
            if response is NOT_YET:
                waiting.append(taken)
                continue
            request, connection = taken
            connection.respond(request, response)
            statuses.append(response.status)
            seconds.append(now - request.arrived_at)
        self._queue.resubmit(waiting)
        self._queue.metrics.answered(statuses, seconds)
        self._queue.batch_finished(self)

    def fail(self, why: str, error: BaseException | None = None) -> None:
        """Every request gets a 503; the log gets everything."""
        if self._open:
            ids = [request.request_id for request, _ in self._taken]
            log.error("batch failed", route=self._queue.template, why=why, request_ids=ids, exc_info=error)
            self.finish([FAILED] * len(self._taken))


class BatchQueue(DrainingHandler):
    """The handler behind a batch route. `spawn(batch)` starts a worker, without blocking."""

    def __init__(
        self, template: str, spawn: Callable[[RequestBatch], None], settings: Settings, admit: Admit | None = None
    ) -> None:
        super().__init__(template)
        self.template = template
        self._admit = admit
        self._spawn = spawn
        self._settings = settings
        self._hub: Any = eventlet.hubs.get_hub()
        self._queue: deque[tuple[Request, ResponseSink]] = deque()
        self._at_work: set[RequestBatch] = set()
        self._requests_at_work = 0
        self._scheduled = False  # to dispatch at the end of this turn of the hub
        self._looks_later = False  # and, for those that gather, in GATHER_S

    def admit(self, request: Request, announced_bytes: int | None) -> Response | int:
        if request.method in ("GET", "HEAD"):
            return 0
        decision: Response | int = self._settings.http_max_body_bytes
        encoding = request.headers.get("content-encoding")
        if encoding is not None and announced_bytes != 0 and encoding.lower() != "identity":
            decision = UNSUPPORTED_ENCODING
        elif self._admit is not None:
            decision = self._admit(request, announced_bytes)
        if isinstance(decision, Response):
            self.metrics.answered([decision.status], [])
        return decision

    def submit(self, request: Request, connection: ResponseSink) -> Response | None:
        if self._stopping:
            return self._reject(STOPPING, "stopping")
        if len(self._queue) >= self._settings.http_queue:
            return self._reject(OVERLOADED, "queue_full")
        self._queue.append((request, connection))
        if not self._scheduled:
            if self._may_start():
                self._scheduled = True
                self._hub.schedule_call_global(0, self._dispatch)
            else:
                self._look_later()
        return None

    def resubmit(self, taken: Sequence[tuple[Request, ResponseSink]]) -> None:
        """Put requests that a batch had no room for before all others."""
        self._queue.extendleft(reversed(taken))

    def batch_finished(self, batch: RequestBatch) -> None:
        self._at_work.discard(batch)
        self._requests_at_work -= batch.size
        self._dispatch()

    @property
    def is_busy(self) -> bool:
        return bool(self._queue or self._at_work)

    def abandon(self) -> None:
        """Reject what waits, and what is at work: its worker is too late, or about to be killed."""
        self._stopping = True
        while self._queue:
            request, connection = self._queue.popleft()
            connection.respond(request, self._reject(STOPPING, "stopping"))
        for batch in list(self._at_work):
            batch.fail("the process had to stop before its worker was done")

    def _may_start(self) -> bool:
        at_work = len(self._at_work)
        if at_work >= self._settings.http_batches_in_flight:
            return False
        return len(self._queue) * at_work >= self._requests_at_work or self._has_gathered()

    def _has_gathered(self) -> bool:
        return time.monotonic() - self._queue[0][0].arrived_at >= GATHER_S

    def _dispatch(self) -> None:
        self._scheduled = False
        self._reject_the_late()
        while self._queue and self._may_start():
            batch = RequestBatch(self._next_requests(), self)
            self._at_work.add(batch)
            self._requests_at_work += batch.size
            self.metrics.took(batch.size)
            self._start(batch)
        if self._queue:
            self._look_later()

    def _reject_the_late(self) -> None:
        """Answer 503 to requests that have waited for as long as an event may wait for its verdict."""
        latest = time.monotonic() - self._settings.command_timeout_s
        while self._queue and self._queue[0][0].arrived_at < latest:
            request, connection = self._queue.popleft()
            connection.respond(request, self._reject(OVERLOADED, "waited_too_long"))

    def _next_requests(self) -> list[tuple[Request, ResponseSink]]:
        """Return as many requests as one worker may take, but at least one."""
        taken = [self._queue.popleft()]
        room_bytes = self._settings.http_max_batch_bytes - len(taken[0][0].body)
        while self._queue and len(taken) < self._settings.http_max_batch:
            room_bytes -= len(self._queue[0][0].body)
            if room_bytes < 0:
                break
            taken.append(self._queue.popleft())
        return taken

    def _look_later(self) -> None:
        if not self._looks_later:
            self._looks_later = True
            self._hub.schedule_call_global(GATHER_S, self._look)

    def _look(self) -> None:
        self._looks_later = False
        self._dispatch()

    def _start(self, batch: RequestBatch) -> None:
        try:
            self._spawn(batch)
        except Exception as error:  # noqa: BLE001 (the batch must be answered, whatever Nameko raises; logged there)
            batch.fail("no worker could be started", error)
