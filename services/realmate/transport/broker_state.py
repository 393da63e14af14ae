"""A broker that is away: trying again, for as long as somebody waits, and one log line an outage.

Each end of each transport has one `BrokerState` for its broker. Whatever the broker says against a command (away,
starting, read-only, out of memory, wrong password) may pass: retrying is for all of it, and the log has the reason.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import count
from typing import TypeVar

import eventlet
import structlog

from realmate.runtime.backoff import Backoff
from realmate.runtime.loops import loops
from realmate.transport.interface import TransportUnavailable

BACKOFF = Backoff(0.02, 1.0)

log = structlog.get_logger(__name__)

T = TypeVar("T")


class BrokerState:
    def __init__(self, broker: str, errors: tuple[type[Exception], ...]) -> None:
        self._lost, self._back = f"{broker} lost", f"{broker} back"
        self._errors = errors
        self._ended_at = -math.inf
        self._failing: dict[str, Exception] = {}

    def retry(self, activity: str, command: Callable[[], T], *, worthwhile: Callable[[], bool] = lambda: True) -> T:
        """Run `command` until the broker takes it, for as long as that is worthwhile; then TransportUnavailable."""
        for failures in count(1):
            loops.heartbeat()  # a loop that waits for its broker is alive
            try:
                result = command()
            except self._errors as error:
                self.record_failure(activity, error)
                if not worthwhile():
                    raise TransportUnavailable(str(error)) from error
            else:
                self.record_success(activity)
                return result
            eventlet.sleep(BACKOFF.pause_s(failures))
        raise AssertionError("it retries for ever, or ends above")

    def failure_of(self, activity: str) -> Exception | None:
        """Why the activity failed, if it did when it was last tried."""
        return self._failing.get(activity)

    def healthy_for(self, seconds: float) -> bool:
        """Whether there has been no outage for that long."""
        return not self._failing and time.monotonic() - self._ended_at >= seconds

    def record_failure(self, activity: str, error: Exception) -> None:
        # One line an outage, however many greenlets notice it and however often they try.
        tell = log.debug if self._failing else log.warning
        tell(self._lost, activity=activity, error=str(error))
        self._failing[activity] = error

    def record_success(self, activity: str) -> None:
        if activity in self._failing:
            del self._failing[activity]
            self._ended_at = time.monotonic()
            if not self._failing:
                log.info(self._back)
