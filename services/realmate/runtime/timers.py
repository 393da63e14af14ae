"""An entrypoint that runs a method again and again, with the same pause between two runs.

Nameko's own timer counts on the wall clock, so a host's clock jump stops it or makes it race; it also catches up on
missed ticks in a hot loop. This one sleeps on the monotonic clock and never overlaps with itself.

A run that an outage of the database ends is nobody's fault, and readiness tells of it: the next one goes on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from functools import partial
from typing import Any

import eventlet
from eventlet.event import Event
from nameko.extensions import Entrypoint

from realmate.runtime.config import settings_of
from realmate.runtime.database import is_outage
from realmate.runtime.loops import loops
from realmate.runtime.settings import Settings

LONGEST_PAUSE_S = 5.0
"""After failures. A fault that stays must not fill the log."""
LOOK_AGAIN_S = 1.0
WORKS_WITHIN_S = 60.0
WORKS_WITHIN_PAUSES = 3
"""A method that has not succeeded for the longer of the two makes the process unready."""


Method = Callable[[Any], None]


def periodic(pause_s: Callable[[Settings], float]) -> Callable[[Method], Method]:
    """`@periodic(lambda settings: settings.sweep_interval_s)`: seconds between two runs, asked once at setup."""
    register: Callable[[Method], Method] = Periodic.decorator(pause_s=pause_s)

    def decorate(method: Method) -> Method:
        return register(_but_for_outages(method))

    return decorate


def _but_for_outages(method: Method) -> Method:
    @functools.wraps(method)
    def run(service: Any) -> None:
        try:
            method(service)
        except Exception as error:
            if not is_outage(error):
                raise

    return run


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
            failed = self._outcome(done)
            pause_s = min(2 * pause_s, max(LONGEST_PAUSE_S, self._pause_s)) if failed else self._pause_s
            with eventlet.Timeout(pause_s, exception=False):
                self._stopping.wait()

    def _outcome(self, done: Event) -> bool:
        """Whether the run failed. The loop turns while it waits: how long a run takes is the database's matter."""
        while not done.ready():
            loops.turn()
            with eventlet.Timeout(LOOK_AGAIN_S, exception=False):
                done.wait()
        failed: bool = done.wait()
        if not failed:
            loops.worked()
        return failed


def _tell(done: Event, _worker_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
    done.send(exc_info is not None)
    return result, exc_info
