"""How late a source's replies are when all that another one has piled up falls due at the same moment."""

from __future__ import annotations

import hostile
import neighbour
from bench import Bench, Options, started
from findings import Findings
from hostile import Backlog
from measurement import Measurement, Spread

WINDOW_S = 1.0
ALONE = "alone"
BACKLOGS = {
    ALONE: None,
    "beside 94 MB held for one": Backlog(1, 1_450, 65_000, is_held=True),
    "beside 50,000 held": Backlog(50_000, 1, 200, is_held=True),
    "beside 20,000 groups": Backlog(20_000, 3, 200, is_held=False),
    "beside 10 groups of 10,000": Backlog(10, 10_000, 200, is_held=False),
}
"""By what is measured. The first is the case that once stopped all replies of all sources."""
SOURCES = f"[sources.{hostile.SOURCE}]\n[sources.{neighbour.SOURCE}]\n"


def find(options: Options) -> Findings:
    with started(options, sources=SOURCES, GROUP_WINDOW_S=str(WINDOW_S)) as bench:
        findings = Findings(bench.postgres)
        for run in range(1, options.runs + 1):
            findings.measurements += [_measure(bench, what, backlog, run) for what, backlog in BACKLOGS.items()]
    for what in BACKLOGS:
        loads = [each.load for each in findings.measurements if each.what == what]
        findings.figures[f"{what}, latest reply ms"] = Spread.of(load.latency_ms["max"] for load in loads)
    return findings


def _measure(bench: Bench, what: str, backlog: Backlog | None, run: int) -> Measurement:
    print(f"  run {run}/{bench.options.runs}  {what:28} ", end="", flush=True)
    bench.database.begin_anew()
    if backlog is not None:
        hostile.store_messages(bench.database, backlog)
        hostile.fall_due(bench.database, backlog)
    at = {"replies/s": neighbour.RATE}
    found = bench.watch(
        what,
        at,
        lambda: neighbour.lateness(bench.url, bench.database, seconds=bench.options.seconds, window_s=WINDOW_S),
        run=run,
    )
    print(f"p50 {found.load.latency_ms['p50']:.0f} ms, latest {found.load.latency_ms['max']:.0f} ms", flush=True)
    return found
