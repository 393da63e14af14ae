"""The circuit breaker of one destination: it stops the requests to a service that keeps failing."""

from __future__ import annotations

import time


class CircuitBreaker:
    """It opens after `FAILURES` failures in a row. Every `PAUSE_S` it is half open: one request may try.

    A success closes it.
    """

    FAILURES = 5
    PAUSE_S = 5.0

    def __init__(self) -> None:
        self._failures = 0
        self._half_open_at = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= self.FAILURES

    def admit(self, requests: int) -> int:
        """Return how many of so many requests may be sent now."""
        if not self.is_open or requests <= 0:
            return requests
        now = time.monotonic()
        if now < self._half_open_at:
            return 0
        self._half_open_at = now + self.PAUSE_S  # for the next one, unless this request closes the breaker
        return min(requests, 1)

    def record(self, *, failed: bool) -> None:
        """Count the outcome of a request."""
        if not failed:
            self._failures = 0
            return
        self._failures += 1
        if self.is_open:
            self._half_open_at = time.monotonic() + self.PAUSE_S
