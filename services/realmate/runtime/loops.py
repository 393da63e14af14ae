"""Greenlets that must run for as long as their process lives: `loops.spawn` starts one.

A loop that fails in a way that nobody foresaw ends the process at once, and the supervisor (or the kubelet) starts it
again: a process that misses one of its loops would look healthy and do nothing. A loop that hangs is noticed as well,
because each sends a `heartbeat` in every round: liveness names those that have sent none for too long.

A loop that also says `worked`, each time that its work has succeeded, is named by readiness when that is too long ago.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import eventlet
import structlog

SILENT_S = 60.0
"""A loop sends a heartbeat every few seconds, however slow the stores are. One that has sent none for so long hangs."""
EXIT_CODE = 1

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Loop:
    name: str
    beat_at: float
    worked_at: float
    works_within_s: float | None


class Loops:
    """The loops of this process. There is one instance: `loops`."""

    def __init__(self) -> None:
        self._running: dict[Any, _Loop] = {}

    def spawn(self, name: str, work: Callable[[], None], *, works_within_s: float | None = None) -> Any:
        """Start `work`; return its greenlet, which its owner may `kill` or `wait` for.

        With `works_within_s` the loop has to say `worked` that often.
        """
        now = time.monotonic()
        loop = _Loop(name, now, now, works_within_s)
        return eventlet.spawn(self._run, loop, work)

    def heartbeat(self) -> None:
        """The loop that calls this is alive. In any other greenlet this does nothing."""
        if loop := self._running.get(eventlet.getcurrent()):
            loop.beat_at = time.monotonic()

    def worked(self) -> None:
        """The loop that calls this has just done its work."""
        if loop := self._running.get(eventlet.getcurrent()):
            loop.beat_at = loop.worked_at = time.monotonic()

    def silent(self) -> dict[str, str]:
        """Return the loops that have sent no heartbeat for too long, and since when."""
        now = time.monotonic()
        return {
            loop.name: f"has sent no heartbeat for {now - loop.beat_at:.0f} s"
            for loop in self._running.values()
            if now - loop.beat_at > SILENT_S
        }

    def idle(self) -> dict[str, str]:
        """Return the loops that send heartbeats, but have not done their work for too long."""
        now = time.monotonic()
        return {
            loop.name: f"has not done its work for {now - loop.worked_at:.0f} s"
            for loop in self._running.values()
            if loop.works_within_s is not None and now - loop.worked_at > loop.works_within_s
        }

    def _run(self, loop: _Loop, work: Callable[[], None]) -> None:
        current = eventlet.getcurrent()
        self._running[current] = loop
        try:
            work()
        except Exception as error:  # noqa: BLE001 (whatever it is: the process cannot do without the loop)
            end_process(loop.name, error)
        finally:
            del self._running[current]


def end_process(what: str, error: BaseException) -> None:
    """Log the failure and end the process, without a word to anybody: whatever it has in hand comes again elsewhere."""
    log.critical("the process ends: a part of it failed", part=what, exc_info=error)
    os._exit(EXIT_CODE)


loops = Loops()
