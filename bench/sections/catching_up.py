"""One stream that is told everything from the oldest change on."""

from __future__ import annotations

import asyncio
import time

import wrk
from bench import Options, started
from findings import Findings
from followers import Stream
from outcome import Load

CONNECTIONS = 64
SETTLED_S = 8.0
"""Until the last groups have their replies."""


def find(options: Options) -> Findings:
    with started(options) as bench:
        findings = Findings(bench.postgres)
        print(f"  sending for {options.seconds} s ...", flush=True)
        wrk.post_events(bench.url, connections=CONNECTIONS, seconds=options.seconds)
        time.sleep(SETTLED_S)
        for run in range(1, options.runs + 1):
            print(f"  run {run}/{options.runs}  from the oldest on ... ", end="", flush=True)
            measurement = bench.watch("catching up", {"streams": 1}, lambda: _catch_up(bench.url), run=run)
            print(f"{measurement.load.events:,} events, {measurement.load.per_second:,.0f}/s", flush=True)
            findings.measurements.append(measurement)
    return findings


def _catch_up(url: str) -> Load:
    began = time.monotonic()
    events = asyncio.run(_read(url))
    return Load(events, events / (time.monotonic() - began))


async def _read(url: str) -> int:
    stream = await Stream.open(url, "after=oldest")
    try:
        return await stream.count_until_caught_up()
    finally:
        stream.close()
