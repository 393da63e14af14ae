"""What a source feels of another one that sends far more than it may, and of one that may."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import fixed_rate
from bench import Bench, Options, started
from findings import Findings
from measurement import Measurement, kind, ratio
from outcome import Load

CONNECTIONS = 64
RATE = 1_000
"""Events a second of the one that is measured."""
OTHERS_RATE = 2_000
OTHERS_LIMIT = 100
FOR_EVER_S = 3_600
ALONE = "alone"
OTHERS = {ALONE: None, "beside one over its limit": "greedy", "beside one without": "free"}
"""By what is measured: as which source somebody else sends `OTHERS_RATE` meanwhile."""
SOURCES = f"""
[sources.default]

[sources.greedy.limit]
events_per_s = {OTHERS_LIMIT}

[sources.free]
"""


def find(options: Options) -> Findings:
    with started(options, sources=SOURCES) as bench:
        findings = Findings(bench.postgres)
        for run in range(1, options.runs + 1):
            findings.measurements += [_measure(bench, what, run=run) for what in OTHERS]
    alone, *beside = (kind(what, connections=CONNECTIONS) for what in OTHERS)
    for of in beside:
        for percentile in ("p50", "p99"):
            latency = partial(_latency_ms, percentile)
            if slower := ratio(findings.measurements, of, alone, latency):
                findings.figures[f"{of[0]}, {percentile} x alone"] = slower
    return findings


def _measure(bench: Bench, what: str, *, run: int) -> Measurement:
    def load(seconds: int) -> Load:
        with _sending(bench.url, OTHERS[what]):
            return fixed_rate.post_events(bench.url, connections=CONNECTIONS, rate=RATE, seconds=seconds)

    return bench.measure(what, {"connections": CONNECTIONS}, load, run=run)


def _latency_ms(percentile: str, measurement: Measurement) -> float:
    return measurement.load.latency_ms[percentile]


@contextmanager
def _sending(url: str, source: str | None) -> Iterator[None]:
    """Somebody sends as `source`, whatever the answers are."""
    if source is None:
        yield
        return
    options = [f"--connections={CONNECTIONS}", f"--rate={OTHERS_RATE}", f"--seconds={FOR_EVER_S}"]
    sender = subprocess.Popen([sys.executable, fixed_rate.SCRIPT, f"{url}/webhook/{source}/", *options])
    try:
        yield
    finally:
        sender.kill()
        sender.wait()
