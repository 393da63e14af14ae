"""An endpoint: a receiver that is told what happened, by signed webhooks."""

from __future__ import annotations

from dataclasses import dataclass

from realmate.sources.limits import RateLimit
from realmate.sources.signing import StandardWebhooks

SVIX_SCHEDULE_S = (5.0, 300.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 36_000.0)
"""Svix' own pauses after failed attempts: a little more than 27 hours in all."""


@dataclass(frozen=True, slots=True, eq=False)
class Endpoint:
    name: str
    url: str
    signer: StandardWebhooks
    events: frozenset[str] | None = None
    """The types of the events that it is told; None: all."""
    sources: frozenset[str] | None = None
    """The sources whose events it is told; None: all."""
    schedule_s: tuple[float, ...] = SVIX_SCHEDULE_S
    """The pause after each failed attempt. After one more failure the delivery is given up."""
    timeout_s: float = 15.0
    concurrency: int = 16
    """How many requests one process has in flight."""
    rate: RateLimit | None = None
    """How many requests a second all processes send together; None: as many as there are."""
    pause_after_s: float = 86_400.0
    """The endpoint is paused after so long a time of nothing but failures."""
    allow_private: bool = False

    def pause_s(self, failures: int) -> float | None:
        """Return the pause after so many failures of one delivery; None: it is given up."""
        return self.schedule_s[failures - 1] if failures <= len(self.schedule_s) else None
