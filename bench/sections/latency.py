"""How long an event takes at a fixed rate, be Realmate busy or not: shares of the peak measured in the same run."""

from __future__ import annotations

import fixed_rate
from bench import POST, Bench, Options, started
from findings import Findings
from measurement import Measurement, Spread

CONNECTIONS = 64
PERCENT_OF_PEAK = (30, 50, 70, 90)
FIXED_RATE = "fixed rate"
GOAL_PERCENT = 70


def find(options: Options) -> Findings:
    with started(options) as bench:
        findings = Findings(bench.postgres)
        for run in range(1, options.runs + 1):
            peak = bench.post(CONNECTIONS, run=run)
            findings.measurements.append(peak)
            for percent in PERCENT_OF_PEAK:
                rate = peak.load.per_second * percent / 100
                findings.measurements.append(_at_fixed_rate(bench, rate, percent, run=run))
    wanted = [each for each in findings.measurements if each.at.get("% of peak") == GOAL_PERCENT]
    findings.figures[f"p99 ms at {GOAL_PERCENT} % of peak"] = Spread.of(each.load.latency_ms["p99"] for each in wanted)
    findings.figures["peak"] = Spread.of(each.load.per_second for each in findings.measurements if each.what == POST)
    return findings


def _at_fixed_rate(bench: Bench, rate: float, percent: int, *, run: int) -> Measurement:
    return bench.measure(
        FIXED_RATE,
        {"connections": CONNECTIONS, "% of peak": percent},
        lambda seconds: fixed_rate.post_events(bench.url, connections=CONNECTIONS, rate=rate, seconds=seconds),
        run=run,
    )
