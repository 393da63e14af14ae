"""An entrypoint that runs a method again and again, with the same pause between two runs.

Nameko's own timer counts on the wall clock, so a host's clock jump stops it or makes it race; it also catches up on
missed ticks in a hot loop. This one sleeps on the monotonic clock and never overlaps with itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import eventlet
from eventlet.event import Event
from nameko.extensions import Entrypoint

from realmate.runtime.config import settings_of
from realmate.runtime.settings import Settings


class Periodic(Entrypoint):
    """`@periodic(pause_s=lambda settings: settings.sweep_interval_s)`: seconds between two runs, asked once at setup.

    By keyword, as Nameko takes a lone positional function for the method to decorate."""

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
        while not self._stopping.ready():
            done = Event()
            self.container.spawn_worker(self, (), {}, handle_result=_signal(done))
            done.wait()
            with eventlet.Timeout(self._pause_s, exception=False):
                self._stopping.wait()


def _signal(done: Event) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    def handle_result(_worker_ctx: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
        done.send()
        return result, exc_info

    return handle_result


periodic = Periodic.decorator
