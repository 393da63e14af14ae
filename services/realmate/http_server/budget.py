"""The bytes that HTTP may hold in this process: what arrives, what waits, what is at work, and what is not yet sent.

Counting requests does not bound memory: 256 requests of 1 MB are 256 MB. So every connection tells how many bytes it
holds, and nothing more is read, and no answer is made, while there is no room for it. Who finds no room waits here.

Its laws:

- What is small may use the whole budget, what is large only three quarters of it. So no number of large bodies keeps an
  ordinary event, or a probe, out.
- A large body gets the room for all of it before it is read. So two half-read bodies never wait for each other.
- Where nothing large is held, anything large fits: what is larger than the whole budget is still possible, alone.
- Who waits is served in the order of arrival, the small before the large.

(What a long wait comes to, and who is given up so that others need not wait, is `connection`'s matter.)
"""

from __future__ import annotations

from typing import Any, Protocol

import eventlet.hubs
from prometheus_client import Gauge

from realmate.http_server import metrics
from realmate.runtime.settings import Settings

SMALL_BYTES = 8192
"""A request of an ordinary event fits, head and all. It is also what is read of a connection at a time before it is
known how much will come."""
LARGE_SHARE = 0.75


class Waiter(Protocol):
    """Whoever waits for room."""

    def resume(self) -> None:
        """There is room. Take it at once, or leave it. Never blocks."""


class ByteBudget:
    def __init__(self, total_bytes: int, metric: Gauge | None = None) -> None:
        self.held_bytes = 0
        self._large_bytes = 0  # the part of `held_bytes` that large holders hold
        self._total_bytes = total_bytes
        self._small_until = total_bytes - SMALL_BYTES
        self._metric = metric
        self._hub: Any = eventlet.hubs.get_hub()
        self._small: dict[Waiter, int] = {}  # who waits, with the bytes wanted, in the order of arrival
        self._large: dict[Waiter, int] = {}
        self._scheduled = False
        self.is_full = False
        """Whether not even a small request has room."""

    @property
    def is_short(self) -> bool:
        """Whether somebody waits for room."""
        return bool(self._small or self._large)

    def change(self, before: int, after: int) -> None:
        """Note that one holder held `before` bytes and holds `after` now."""
        self.held_bytes += after - before
        self.is_full = self.held_bytes > self._small_until
        if before > SMALL_BYTES:
            self._large_bytes -= before
        if after > SMALL_BYTES:
            self._large_bytes += after
        if (self._small or self._large) and after < before and not self._scheduled:
            self._scheduled = True
            self._hub.schedule_call_global(0, self._resume_waiters)

    def fits(self, wanted_bytes: int) -> bool:
        """Whether there is room for so many bytes more."""
        if wanted_bytes <= SMALL_BYTES:
            return self.held_bytes + wanted_bytes <= self._total_bytes
        return self._large_bytes == 0 or self.held_bytes + wanted_bytes <= self._total_bytes * LARGE_SHARE

    def wait(self, waiter: Waiter, wanted_bytes: int) -> None:
        """`waiter.resume()` will be called when there is room for so many bytes more."""
        metrics.WAITS_FOR_ROOM.inc()
        (self._small if wanted_bytes <= SMALL_BYTES else self._large)[waiter] = wanted_bytes

    def leave(self, waiter: Waiter) -> None:
        """Wait no longer, if it did."""
        self._small.pop(waiter, None)
        self._large.pop(waiter, None)

    def observe(self) -> None:
        """Set the metric.

        This is called now and then: a metric that followed each change would cost more than the budget does.
        """
        if self._metric is not None:
            self._metric.set(self.held_bytes)

    def _resume_waiters(self) -> None:
        self._scheduled = False
        promised = 0  # to the small, who take their room only when they are read
        while self._small and self.fits(promised + SMALL_BYTES):
            promised += SMALL_BYTES
            self._resume_first(self._small)
        while self._large and self.fits(next(iter(self._large.values()))):
            self._resume_first(self._large)

    def _resume_first(self, waiting: dict[Waiter, int]) -> None:
        waiter = next(iter(waiting))
        del waiting[waiter]
        waiter.resume()


_of_process: list[ByteBudget] = []


def process_budget(settings: Settings) -> ByteBudget:
    """The one budget of what this process serves on its public port."""
    if not _of_process:
        _of_process.append(ByteBudget(settings.http_budget_bytes, metrics.HELD_BYTES))
    return _of_process[0]
