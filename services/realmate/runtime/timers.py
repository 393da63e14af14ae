"""An entrypoint that runs a method again and again, with the same pause between two runs.

Nameko's own timer counts on the wall clock, so a host's clock jump stops it or makes it race; it also catches up on
missed ticks in a hot loop. This one sleeps on the monotonic clock and never overlaps with itself.

A run that an outage of the database ends is nobody's fault, and the next one goes on. The outage is logged when it
begins and when it is over, not with each run; metrics tell of every run that failed, and of the last that succeeded.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import eventlet
import structlog
from eventlet.event import Event
from nameko.extensions import Entrypoint
from prometheus_client import Counter, Gauge

from realmate.runtime.config import settings_of
from realmate.runtime.database import is_outage
from realmate.runtime.loops import loops
from realmate.runtime.settings import Settings

LONGEST_PAUSE_S = 5.0
"""The longest pause after failures, so that a lasting fault does not fill the log."""
LOOK_AGAIN_S = 1.0
HEARTBEAT_PAUSE_S = 10.0
WORKS_WITHIN_S = 60.0
WORKS_WITHIN_PAUSES = 3
"""A method that has not succeeded for the longer of the two makes the process unready."""


LAST_SUCCESS = Gauge(
    "realmate_timer_last_success_timestamp_seconds",
    "When a run of the timer last did all its work",
    ["timer"],
    multiprocess_mode="livemax",
)
FAILURES = Counter("realmate_timer_failures", "Runs of a timer that failed, those of an outage included", ["timer"])

Method = Callable[[Any], Any]

log = structlog.get_logger(__name__)


def periodic(pause_s: Callable[[Settings], float]) -> Callable[[Method], Method]:
    """`@periodic(lambda settings: settings.sweep_interval_s)`: seconds between two runs, asked once at setup."""
    register: Callable[[Method], Method] = Periodic.decorator(pause_s=pause_s)

    def decorate(method: Method) -> Method:
        return register(_but_for_outages(method))

    return decorate


def _but_for_outages(method: Method) -> Method:
    """The method, which then returns whether it did its work."""
    runs = _Runs(method.__name__)

    @functools.wraps(method)
    def run(service: Any) -> bool:
        try:
            method(service)
        except Exception as error:
            runs.tell(error)
            if not is_outage(error):
                raise
            return False
        runs.tell(None)
        return True

    return run


class _Runs:
    """Tells of a timer's runs in the log and in the metrics."""

    def __init__(self, timer: str) -> None:
        self._timer = timer
        self._failing_since: float | None = None

    def tell(self, error: Exception | None) -> None:
        if error is None:
            LAST_SUCCESS.labels(self._timer).set(time.time())
            if self._failing_since is not None:
                failed_for_s = round(time.monotonic() - self._failing_since, 1)
                log.warning("timer does its work again", timer=self._timer, failed_for_s=failed_for_s)
                self._failing_since = None
            return
        FAILURES.labels(self._timer).inc()
        if self._failing_since is None:
            self._failing_since = time.monotonic()
            reason = str(error).partition("\n")[0]
            log.warning("timer fails: it goes on trying", timer=self._timer, reason=reason)


class Periodic(Entrypoint):
    """Use `periodic`. `pause_s` comes by keyword, as Nameko takes a lone positional function for the method."""

    def __init__(self, pause_s: Callable[[Settings], float], **kwargs: Any) -> None:
        self._pause_s_of = pause_s
        self._pause_s = 0.0
        self._stopping = Event()
        self._loop: Any = None
        super().__init__(**kwargs)

    def setup(self) -> None:
        self._pause_s = self._pause_s_of(settings_of(self.container))

    def start(self) -> None:
        works_within_s = max(WORKS_WITHIN_S, WORKS_WITHIN_PAUSES * self._pause_s)
        self._loop = loops.spawn(self.method_name, self._run, works_within_s=works_within_s)

    def stop(self) -> None:
        if not self._stopping.ready():
            self._stopping.send()
        if self._loop is not None:
            self._loop.wait()

    def _run(self) -> None:
        pause_s = self._pause_s
        while not self._stopping.ready():
            done = Event()
            self.container.spawn_worker(self, (), {}, handle_result=partial(_tell, done))
            failed = self._failed(done)
            pause_s = min(2 * pause_s, max(LONGEST_PAUSE_S, self._pause_s)) if failed else self._pause_s
            self._pause(pause_s)

    def _pause(self, seconds: float) -> None:
        """Wait, and send heartbeats: a long pause is no hang."""
        until = time.monotonic() + seconds
        while not self._stopping.ready() and (left_s := until - time.monotonic()) > 0:
            loops.heartbeat()
            with eventlet.Timeout(min(left_s, HEARTBEAT_PAUSE_S), exception=False):
                self._stopping.wait()

    def _failed(self, done: Event) -> bool:
        """Whether the run failed.

        The loop sends heartbeats while it waits: how long a run takes depends on the database.
        """
        while not done.ready():
            loops.heartbeat()
            with eventlet.Timeout(LOOK_AGAIN_S, exception=False):
                done.wait()
        did_its_work, exc_info = done.wait()
        if did_its_work and exc_info is None:
            loops.worked()
        return exc_info is not None


def _tell(done: Event, _worker_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
    done.send((result, exc_info))
    return result, exc_info
