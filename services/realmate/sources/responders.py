"""Who answers a source's groups, where that is a service of its own; and when to leave that alone."""

from __future__ import annotations

import time
from dataclasses import dataclass

from realmate.sources.signing import StandardWebhooks


@dataclass(frozen=True, slots=True, eq=False)
class Responder:
    url: str
    signer: StandardWebhooks
    timeout_s: float = 5.0
    """Of one call."""
    retry_for_s: float = 60.0
    """From the end of the group to the fallback, whatever fails meanwhile."""
    concurrency: int = 8
    """Calls at once, of one process."""
    fallback: str | None = None
    """The reply where there is no answer; None: the messages' ids."""
    allow_private: bool = False


class CircuitBreaker:
    """After so many failures in a row nobody calls for a while; then one call tries."""

    FAILURES = 5
    PAUSE_S = 5.0

    def __init__(self) -> None:
        self._failures = 0
        self._closed_at = 0.0

    @property
    def is_open(self) -> bool:
        return self._failures >= self.FAILURES

    def allowed(self, wanted: int) -> int:
        """How many of the calls may be made now."""
        if not self.is_open or wanted <= 0:
            return wanted
        now = time.monotonic()
        if now < self._closed_at:
            return 0
        self._closed_at = now + self.PAUSE_S  # the next try, unless this one changes everything
        return min(wanted, 1)

    def tell(self, *, failed: bool) -> None:
        """What became of a call."""
        if not failed:
            self._failures = 0
            return
        self._failures += 1
        if self.is_open:
            self._closed_at = time.monotonic() + self.PAUSE_S
