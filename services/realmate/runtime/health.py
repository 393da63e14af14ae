"""Liveness and readiness of one process, answered outside the worker pool.

`/healthz` says that the process turns over. `/readyz` says that it can do its work now: it is not draining, and each
registered check (a store, a transport) passes. Checks run at most once in `CACHE_S`, however often the route is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import eventlet
import msgspec
import structlog

from realmate.wire.responses import Response

CACHE_S = 0.5
CHECK_TIMEOUT_S = 2.0

log = structlog.get_logger(__name__)

Check = Callable[[], None]
"""Returns when the part is well, raises when it is not: NotReady with a reason for all to see, or anything else."""


class NotReady(Exception):
    """The part cannot do its work; the message says why, and gives nothing away."""


class Health:
    """The parts of this process and whether each works. One for each process: `health`."""

    def __init__(self) -> None:
        self._checks: dict[str, Check] = {}
        self._failing: dict[str, str] = {}
        self._checked_at = -CACHE_S
        self._lock = eventlet.semaphore.Semaphore()
        self.draining = False

    def register(self, part: str, check: Check) -> None:
        self._checks[part] = check

    def unregister(self, part: str) -> None:
        self._checks.pop(part, None)

    def live(self) -> Response:
        return Response(200, b'{"status":"ok"}')

    def ready(self) -> Response:
        """200, or 503 with the failing parts named."""
        if self.draining:
            return _not_ready({"process": "draining"})
        with self._lock:
            if time.monotonic() - self._checked_at >= CACHE_S:
                self._run_checks()
        return _not_ready(self._failing) if self._failing else Response(200, b'{"status":"ready"}')

    def _run_checks(self) -> None:
        running = {part: eventlet.spawn(_failure_of, check) for part, check in self._checks.items()}
        reasons = {part: check.wait() for part, check in running.items()}
        failing = {part: reason for part, reason in reasons.items() if reason is not None}
        for part in failing.keys() - self._failing.keys():
            log.warning("not ready", part=part, reason=failing[part])
        for part in self._failing.keys() - failing.keys():
            log.info("ready again", part=part)
        self._failing = failing
        self._checked_at = time.monotonic()


def _failure_of(check: Check) -> str | None:
    try:
        with eventlet.Timeout(CHECK_TIMEOUT_S):
            check()
    except eventlet.Timeout:  # a BaseException: `except Exception` would let it through
        return f"no answer within {CHECK_TIMEOUT_S:g} s"
    except NotReady as reason:
        return str(reason)
    except Exception as error:
        log.debug("check failed", exc_info=error)
        return "unavailable"
    return None


def _not_ready(failing: dict[str, str]) -> Response:
    return Response(503, msgspec.json.encode({"status": "not ready", "failing": failing}))


health = Health()
