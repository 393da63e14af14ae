"""The rate limit of a source: the generic cell rate algorithm (GCRA), a leaky bucket that stores one moment for each
source.

That moment, the theoretical arrival time (TAT), is when the bucket will be empty again. Each event moves it ahead by
one interval; it may be ahead of the present by the whole burst at most. The script in `runtime/limits.py` counts in
the same way for all replicas together.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

MIN_EVENTS_PER_S = 0.001
MAX_EVENTS_PER_S = 1_000_000
MAX_WINDOW_S = 30 * 86_400.0
"""The longest time in which a used-up burst may come back.

Within these bounds no arithmetic here or in Redis overflows.
"""


@dataclass(frozen=True, slots=True)
class RateLimit:
    events_per_s: float
    burst: int
    """Events that may come at once, after a pause of `window_s`."""

    @property
    def interval_s(self) -> float:
        return 1 / self.events_per_s

    @property
    def window_s(self) -> float:
        return self.burst / self.events_per_s


class Allowance(NamedTuple):
    """The part that a source was allowed of what it wanted."""

    allowed: int
    left: int
    """Events that it could send now on top of these."""
    retry_after_s: float
    """The time until it may send the next event; 0 while any are left."""
    reset_s: float
    """The time until it may send a whole burst."""


class LocalRateLimiter:
    """The limits as one process sees them, without Redis."""

    def __init__(self) -> None:
        self._tat: dict[str, float] = {}

    def admit(self, wanted: Mapping[str, tuple[RateLimit, int]]) -> dict[str, Allowance]:
        """Allow as many as the limits let through of the events wanted, by source."""
        now = time.monotonic()
        return {name: self._admit(name, limit, events, now) for name, (limit, events) in wanted.items()}

    def _admit(self, name: str, limit: RateLimit, events: int, now: float) -> Allowance:
        ahead_s = max(0.0, self._tat.get(name, now) - now)
        allowed = min(events, _room(limit, ahead_s))
        ahead_s += allowed * limit.interval_s
        self._tat[name] = now + ahead_s
        return allowance(limit, allowed, ahead_s)


def allowance(limit: RateLimit, allowed: int, ahead_s: float) -> Allowance:
    """`ahead_s` is how far the TAT is from the present after the allowed ones."""
    retry_after_s = max(0.0, ahead_s + limit.interval_s - limit.window_s)
    return Allowance(allowed, _room(limit, ahead_s), retry_after_s, ahead_s)


def _room(limit: RateLimit, ahead_s: float) -> int:
    """Return how many more intervals fit into the window. (The millionth makes up for what floats lose.)"""
    return max(0, int((limit.window_s - ahead_s) * limit.events_per_s + 1e-6))
