"""What a run of a load generator comes to, whichever it was."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    events: int
    """Answered (wrk) or committed (pgbench, its warm-up included)."""
    per_second: float
    latency_ms: dict[str, float]
    """p50, p90 and p99, as wrk saw them; pgbench tells none."""
    non_2xx: int = 0
    socket_errors: int = 0
    """Connections refused or broken, and answers that never came."""
