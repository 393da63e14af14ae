"""Whether memory grows: half the peak rate for an hour, the memory of every process every ten seconds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import fixed_rate
from bench import Bench, Options, started
from findings import Findings, Sample
from measurement import Spread
from memory import KINDS, sampled
from outcome import Load

CONNECTIONS = 64
SHARE_OF_PEAK = 0.5
SAMPLE_INTERVAL_S = 10.0
MINUTE_S = 60.0
COMPARED = 3
"""Samples whose median stands for a moment."""


def find(options: Options) -> Findings:
    with started(options) as bench:
        findings = Findings(bench.postgres)
        rate = options.rate or SHARE_OF_PEAK * _peak(bench, findings)
        bench.database.begin_anew()
        print(f"  {rate:,.0f} events/s for {options.minutes:g} minutes", flush=True)
        with sampled(bench.installation.processes, SAMPLE_INTERVAL_S) as findings.samples:
            at = {"connections": CONNECTIONS, "events/s": round(rate)}
            findings.measurements.append(bench.watch("soak", at, lambda: _soak(bench, rate, findings), run=1))
    if findings.samples:
        _compare(findings)
    return findings


def _peak(bench: Bench, findings: Findings) -> float:
    findings.measurements.append(bench.post(CONNECTIONS, run=1))
    return findings.measurements[-1].load.per_second


def _soak(bench: Bench, rate: float, findings: Findings) -> Load:
    """Tell of every minute as it ends; what the whole time came to."""
    seconds = MINUTE_S * bench.options.minutes
    with fixed_rate.reports(bench.url, connections=CONNECTIONS, rate=rate, seconds=seconds, report_s=MINUTE_S) as lines:
        for line in lines:
            if fixed_rate.is_whole(line):
                whole = fixed_rate.load(line)
            else:
                findings.minutes.append(fixed_rate.load(line))
                _tell(findings)
    return whole


def _tell(findings: Findings) -> None:
    minute = findings.minutes[-1]
    mib = findings.samples[-1].mib if findings.samples else {}
    sizes = ", ".join(f"{name} {memory['rss']:.0f}" for name, memory in mib.items())
    print(
        f"  {len(findings.minutes):3}  {minute.per_second:,.0f}/s, {minute.failed} failed,"
        f" p99 {minute.latency_ms['p99']:.0f} ms; RSS in MiB: {sizes}",
        flush=True,
    )


def _compare(findings: Findings) -> None:
    """The end with the first minute's: by process, RSS, PSS and USS."""
    after_a_minute = [each for each in findings.samples if each.at_s >= MINUTE_S][:COMPARED]
    for name in findings.samples[0].mib:
        for memory in KINDS:
            early, late = (_median(some, name, memory) for some in (after_a_minute, findings.samples[-COMPARED:]))
            if early:
                figure = late / early
                findings.figures[f"{name} {memory.upper()}, x after a minute"] = Spread(figure, figure, figure)


def _median(samples: Sequence[Sample], process: str, memory: str) -> float:
    return statistics.median(each.mib[process][memory] for each in samples) if samples else 0.0
