"""Liveness and readiness of one process, answered outside the worker pool.

`/healthz` says that the process is alive: each of its loops sends heartbeats (`realmate.runtime.loops`). `/readyz` says
that it can do its work now: it is not draining, each registered check (a store, a transport) passes, and each loop has
done its work lately. `/servingz` says that requests may be led to it: it could do its work once, is alive, and is not
draining. A store that is away since changes nothing about that: the process says 503, and so would any other one.

Checks run at most once in `CACHE_S`, however often the route is asked,
and once in `WATCH_S` even if nobody asks: the log, too, tells what the process waits for, and since when it can work.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple

import eventlet
import msgspec
import structlog

from realmate.errors import RealmateError
from realmate.runtime.loops import loops
from realmate.wire.responses import Response

CACHE_S = 0.5
CHECK_TIMEOUT_S = 2.0
WATCH_S = 1.0

log = structlog.get_logger(__name__)

Check = Callable[[], None]
"""Returns when the part is well, raises when it is not: NotReady with a reason for all to see, or anything else."""


class NotReady(RealmateError):
    """The part cannot do its work; the message says why, and gives nothing away."""


class Health:
    """The parts of this process and whether each works. One for each process: `health`."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._failing: dict[str, str] = {}
        self._notes: dict[str, str] = {}
        self._revisions: dict[str, str] = {}
        self._was_ready = False
        self._has_been_ready = False
        self._checked_at = -CACHE_S
        self._lock = eventlet.semaphore.Semaphore()
        self.draining = False

    def register(self, part: str, check: Check) -> None:
        self._checks[part] = check

    def unregister(self, part: str) -> None:
        self._checks.pop(part, None)

    def note(self, part: str, note: str | None) -> None:
        """Let readiness tell of something that does not keep the process from its work; None: no more."""
        self._notes.pop(part, None)
        if note is not None:
            self._notes[part] = note

    def revise(self, part: str, revision: str | None) -> None:
        """Let readiness tell which revision of a file the process runs by, where the file says its own."""
        self._revisions.pop(part, None)
        if revision is not None:
            self._revisions[part] = revision

    def live(self) -> Response:
        """200, or 503 with the loops named that hang: who supervises the process should start it again."""
        if silent := loops.silent():
            return Response(503, msgspec.json.encode({"status": "hangs", "failing": silent}))
        return Response(200, b'{"status":"ok"}')

    def ready(self) -> Response:
        """200, or 503 with the failing parts named."""
        if self.draining:
            return self._told(503, {"status": "not ready", "failing": {"process": "draining"}})
        with self._lock:
            if time.monotonic() - self._checked_at >= CACHE_S:
                self._run_checks()
        if self._failing:
            return self._told(503, {"status": "not ready", "failing": self._failing})
        notes = {"notes": self._notes} if self._notes else {}
        return self._told(200, {"status": "ready", **notes})

    def serving(self) -> Response:
        """200 from when it could first do its work until it drains, but not while it hangs; else 503, with why."""
        if not self._has_been_ready or self.draining:
            return self.ready()
        alive = self.live()
        return alive if alive.status != HTTPStatus.OK else self._told(200, {"status": "serving"})

    def _told(self, status: int, told: dict[str, Any]) -> Response:
        revisions = {"revisions": self._revisions} if self._revisions else {}
        return Response(status, msgspec.json.encode({**told, **revisions}))

    def watch(self) -> None:
        """Look again and again, for the log, until the process drains."""
        while not self.draining:
            loops.heartbeat()
            self.ready()
            eventlet.sleep(WATCH_S)

    def _run_checks(self) -> None:
        running = {part: eventlet.spawn(_failure_of, check) for part, check in self._checks.items()}
        found = {part: check.wait() for part, check in running.items()}
        self._checked_at = time.monotonic()
        failures = {part: failure for part, failure in found.items() if failure is not None}
        failures |= {loop: _Failure(reason) for loop, reason in loops.idle().items()}
        self._log(failures)
        self._failing = {part: failure.reason for part, failure in failures.items()}
        self._was_ready = not failures
        self._has_been_ready |= self._was_ready

    def _log(self, failures: dict[str, _Failure]) -> None:
        """Log what changed: one line an outage, whoever asks and however often."""
        for part, failure in failures.items():
            if self._failing.get(part) != failure.reason:
                log.warning("not ready: waiting", part=part, reason=failure.reason, error=failure.error)
        for part in self._failing.keys() - failures.keys():
            log.info("available", part=part)
        if not failures and not self._was_ready:
            log.info("ready")


class _Failure(NamedTuple):
    reason: str
    """The reason that everybody may see."""
    error: str | None = None
    """The text for the log."""


def _failure_of(check: Check) -> _Failure | None:
    try:
        with eventlet.Timeout(CHECK_TIMEOUT_S):
            check()
    except eventlet.Timeout:  # a BaseException: `except Exception` would let it through
        return _Failure(f"no answer within {CHECK_TIMEOUT_S:g} s")
    except NotReady as reason:
        return _Failure(str(reason), None if reason.__cause__ is None else _first_line(reason.__cause__))
    except Exception as error:  # noqa: BLE001 (whatever a store or its driver raises; `_log` logs it)
        return _Failure("unavailable", _first_line(error))
    return None


def _first_line(error: BaseException) -> str:
    return str(getattr(error, "orig", error)).strip().partition("\n")[0]


health = Health()
