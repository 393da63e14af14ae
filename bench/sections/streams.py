"""Streams of /changes/: what idle ones cost, and how late readers are told."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable

from bench import Bench, Options, started
from cpu import cpu_seconds
from findings import Findings
from followers import Heard, Stream, opened, said
from measurement import Measurement, Spread
from outcome import Load, percentiles

IDLE = 2_000
QUIET_S = 4.0
"""After the streams were opened, before they count as idle."""
LAST_EVENTS_S = 1.5
EACH_ITS_OWN, EVERYTHING = "each its own", "everything"
PARTS = ((EACH_ITS_OWN, 20, 100), (EACH_ITS_OWN, 1_000, 3_000), (EVERYTHING, 50, 2_000))
"""What the streams want, how many there are, and how many messages come a second."""


def find(options: Options) -> Findings:
    with started(options, STREAMS_MAX=str(IDLE + 500)) as bench:
        findings = Findings(bench.postgres)
        for run in range(1, options.runs + 1):
            _idle(bench, findings, run)
            for wanted, streams, per_second in PARTS:
                findings.measurements.append(_live(bench, wanted, streams, per_second, run))
    return findings


def _idle(bench: Bench, findings: Findings, run: int) -> None:
    """Measure streams to which nothing happens."""
    print(f"  run {run}/{bench.options.runs}  {IDLE:,} idle streams ... ", end="", flush=True)
    share, kib = asyncio.run(_hold_idle(bench))
    print(f"{100 * share:.1f} % of a core, {kib:.1f} KiB each", flush=True)
    for name, value in ((f"{IDLE:,} idle, % of a core", 100 * share), (f"{IDLE:,} idle, KiB each", kib)):
        findings.figures[name] = Spread.of([value])


async def _hold_idle(bench: Bench) -> tuple[float, float]:
    process = bench.installation.processes["webhook"]
    before = process.memory_info().rss
    streams = [await Stream.open(bench.url, f"conversation={uuid.uuid4()}") for _ in range(IDLE)]
    await asyncio.sleep(QUIET_S)
    kib = (process.memory_info().rss - before) / 1024 / IDLE
    spent, began = cpu_seconds(bench.installation.processes)["webhook"], time.monotonic()
    await asyncio.sleep(bench.options.seconds)
    share = (cpu_seconds(bench.installation.processes)["webhook"] - spent) / (time.monotonic() - began)
    for stream in streams:
        stream.close()
    return share, kib


def _live(bench: Bench, wanted: str, streams: int, per_second: int, run: int) -> Measurement:
    print(
        f"  run {run}/{bench.options.runs}  {streams:>5} streams, {wanted}, {per_second:,}/s ... ", end="", flush=True
    )
    keys = [str(uuid.uuid4()) for _ in range(max(streams, 100))]
    asyncio.run(opened(bench.url, keys))
    at = {"streams": streams, "messages/s": per_second}
    measurement = bench.watch(wanted, at, _told(bench, wanted, keys[:streams], per_second), run=run)
    late = measurement.load.latency_ms
    print(f"p50 {late['p50']:.0f} ms, p99 {late['p99']:.0f} ms, {measurement.load.unsent} not told", flush=True)
    return measurement


def _told(bench: Bench, wanted: str, keys: list[str], per_second: int) -> Callable[[], Load]:
    return lambda: asyncio.run(_tell(bench, wanted, keys, per_second))


async def _tell(bench: Bench, wanted: str, keys: list[str], per_second: int) -> Load:
    """Send for some seconds, and note when each stream is told. `unsent` are events that none told of in time."""
    each_its_own = wanted == EACH_ITS_OWN
    queries = [f"conversation={key}&type=message.received" if each_its_own else "type=message.received" for key in keys]
    streams = [await Stream.open(bench.url, query) for query in queries]
    heard = Heard()
    listeners = [asyncio.create_task(stream.listen(heard)) for stream in streams]
    seconds = bench.options.seconds
    began = time.monotonic()
    events = await said(bench.url, keys, per_second=per_second, seconds=seconds)
    took_s = time.monotonic() - began
    await asyncio.sleep(LAST_EVENTS_S)
    for listener, stream in zip(listeners, streams, strict=True):
        listener.cancel()
        stream.close()
    expected = events if each_its_own else events * len(streams)
    latency_ms = percentiles(heard.late_ms or [float("nan")])
    return Load(events, events / took_s, latency_ms, unsent=expected - len(heard.late_ms))
