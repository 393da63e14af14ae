"""What a run of a load generator comes to, whichever it was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def percentiles(values: Iterable[float]) -> dict[str, float]:
    """Return the percentiles of these values, of which there is one at least, by their names."""
    known = sorted(values)
    return {name: known[round(share * (len(known) - 1))] for name, share in PERCENTILES.items()}


@dataclass(frozen=True)
class Load:
    events: int
    """Answered (wrk, open_loop), committed or read (pgbench, its warm-up included)."""
    per_second: float
    latency_ms: dict[str, float] = field(default_factory=dict)
    """By percentile (p50, p90, p99 ...), as the generator saw them; pgbench tells none."""
    late_ms: dict[str, float] = field(default_factory=dict)
    """How late the generator itself sent, where it has a timetable."""
    non_2xx: int = 0
    socket_errors: int = 0
    """Connections rejected or broken, and answers that never came."""
    unsent: int = 0
    """Events that were due, but found no free connection to the end."""

    @property
    def failed(self) -> int:
        return self.non_2xx + self.socket_errors + self.unsent
