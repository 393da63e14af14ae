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
from realmate.runtime.settings import Settings

LONGEST_PAUSE_S = 5.0
"""After failures. A fault that stays must not fill the log."""


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
        self._loop = self.container.spawn_managed_thread(self._run, identifier=f"periodic {self.method_name}")

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
            failed = done.wait()
            pause_s = min(2 * pause_s, max(LONGEST_PAUSE_S, self._pause_s)) if failed else self._pause_s
            with eventlet.Timeout(pause_s, exception=False):
                self._stopping.wait()


def _tell(done: Event, _worker_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
    done.send(exc_info is not None)
    return result, exc_info
