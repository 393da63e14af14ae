"""Outbound webhooks: how late they are, how many a second, and what backlogs cost that wait or are due."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable

import stored
import webhook_receiver
from bench import Bench, Options, started
from cpu import cpu_seconds
from findings import Findings
from followers import opened, said
from installation import BenchError
from measurement import Measurement, Spread
from outcome import Load, percentiles

EVENTS_PER_S = 300
CONVERSATIONS = 500
LAST_EVENTS_S = 8.0
"""Until the last replies are written and sent."""
RETRIES = 10_000
SMALL, LARGE = 60_000, 1_000_000
"""Deliveries that are due: so many that they do not drain while they are measured."""
EACH = stored.MESSAGES_EACH
BEGIN_TIMEOUT_S = 30.0
SETTLED_S = 2.0
NARROW, WIDE = "narrow", "wide"
SECTIONS = """
[sources.default]

[endpoints.{narrow}]
url = "{url}"
secrets = [{{ value = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" }}]
allow_private = true

[endpoints.{wide}]
url = "{url}"
secrets = [{{ value = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=" }}]
allow_private = true
events = ["conversation.erased"]
concurrency = 64
"""
_PENDING = """
    WITH made AS (
        INSERT INTO deliveries (conversation_id, source_id, endpoint_id, place, type, at)
        SELECT conversation_id, source_id, %(endpoint)s, seq,
            CASE kind WHEN 2 THEN 'reply.created' ELSE 'message.received' END, arrived_at
        FROM (
            SELECT * FROM messages WHERE conversation_id IN (
                SELECT id FROM conversations ORDER BY id LIMIT %(conversations)s
            ) ORDER BY conversation_id, seq LIMIT %(count)s
        ) AS told
        RETURNING conversation_id, source_id
    )
    INSERT INTO delivery_lanes (conversation_id, source_id, endpoint_id, failures, due_at)
    SELECT DISTINCT conversation_id, source_id, CAST(%(endpoint)s AS integer), CAST(%(failures)s AS integer),
        now() + make_interval(secs => %(due_s)s) FROM made
"""


def find(options: Options) -> Findings:
    with (
        webhook_receiver.receiving() as (receiver, process),
        started(options, sources=SECTIONS.format(url=receiver, narrow=NARROW, wide=WIDE)) as bench,
    ):
        bench.installation.processes["receiver"] = process  # it is none of the others
        findings = Findings(bench.postgres)
        ids = _begun(bench)
        for run in range(1, options.runs + 1):
            findings.measurements.append(_late(bench, receiver, run))
        stored.fill(bench.database, 1, LARGE // EACH)
        _idle(bench, findings, ids[NARROW])
        for name, count in ((NARROW, SMALL), (WIDE, SMALL), (WIDE, LARGE)):
            for run in range(1, options.runs + 1):
                findings.measurements.append(_drain(bench, receiver, (name, ids[name]), count, run))
        _compare(findings)
    return findings


def _begun(bench: Bench) -> dict[str, int]:
    """Wait until both endpoints have their place in the feed; return their ids."""
    query = "SELECT name, id FROM endpoints JOIN endpoint_cursors ON endpoint_id = id"
    give_up_at = time.monotonic() + BEGIN_TIMEOUT_S
    while time.monotonic() < give_up_at:
        if len(rows := bench.database.all(query)) == 2:  # noqa: PLR2004 (both)
            return dict(rows)
        time.sleep(0.1)
    raise BenchError("the endpoints did not begin")


def _late(bench: Bench, receiver: str, run: int) -> Measurement:
    """Send messages at a steady rate. `unsent` are events that did not come in time."""
    print(f"  run {run}/{bench.options.runs}  {EVENTS_PER_S} events/s ... ", end="", flush=True)
    keys = [str(uuid.uuid4()) for _ in range(CONVERSATIONS)]
    asyncio.run(opened(bench.url, keys))
    bench.database.settle()
    time.sleep(SETTLED_S)
    webhook_receiver.came(receiver)
    measurement = bench.watch("sent", {"events/s": EVENTS_PER_S}, _told(bench, receiver, keys), run=run)
    late = measurement.load.latency_ms
    print(f"p50 {late['p50']:.0f} ms, p99 {late['p99']:.0f} ms, {measurement.load.unsent} not told", flush=True)
    return measurement


def _told(bench: Bench, receiver: str, keys: list[str]) -> Callable[[], Load]:
    def load() -> Load:
        before = _replies(bench)
        began = time.monotonic()
        events = asyncio.run(said(bench.url, keys, per_second=EVENTS_PER_S, seconds=bench.options.seconds))
        took_s = time.monotonic() - began
        time.sleep(LAST_EVENTS_S)
        came = webhook_receiver.came(receiver)
        expected = events + _replies(bench) - before
        latency_ms = percentiles(came.late_ms or [float("nan")])
        return Load(events, events / took_s, latency_ms, unsent=expected - came.count)

    return load


def _replies(bench: Bench) -> int:
    return int(bench.database.one("SELECT count(*) FROM messages WHERE kind = 2"))


def _idle(bench: Bench, findings: Findings, endpoint_id: int) -> None:
    """Measure what deliveries and Postgres spend while nothing is due: with nothing that waits, and with retries."""
    for count in (0, RETRIES):
        if count:
            _pend(bench, endpoint_id, count * EACH, due_s=3_600, failures=3)
        time.sleep(SETTLED_S)
        before, began = cpu_seconds(bench.installation.processes), time.monotonic()
        time.sleep(bench.options.seconds)
        spent, took_s = cpu_seconds(bench.installation.processes), time.monotonic() - began
        for process in ("deliveries", "postgres"):
            share = 100 * (spent[process] - before[process]) / took_s
            print(f"  {count:,} retries wait: {process} takes {share:.1f} % of a core", flush=True)
            findings.figures[f"{count:,} retries wait: {process}, % of a core"] = Spread.of([share])
    _empty(bench)


def _drain(bench: Bench, receiver: str, endpoint: tuple[str, int], count: int, run: int) -> Measurement:
    """Let so many deliveries become due, and see for some seconds how many are sent."""
    name, endpoint_id = endpoint
    print(f"  run {run}/{bench.options.runs}  {count:,} due, {name} ... ", end="", flush=True)
    bench.database.do("UPDATE endpoints SET paused_at = now(), pause_reason = 'asked'")
    _pend(bench, endpoint_id, count, due_s=0, failures=0)
    bench.database.do("UPDATE endpoints SET paused_at = NULL, pause_reason = NULL")
    time.sleep(SETTLED_S)
    measurement = bench.watch(
        f"drains, {name}", {"due": count}, lambda: _count(receiver, bench.options.seconds), run=run
    )
    left = bench.database.one("SELECT count(*) FROM deliveries")
    print(f"{measurement.load.per_second:,.0f}/s, {left:,} left", flush=True)
    if not left:
        raise BenchError("the backlog was sent before the time was over: it says nothing")
    _empty(bench)
    return measurement


def _count(receiver: str, seconds: float) -> Load:
    webhook_receiver.came(receiver)
    began = time.monotonic()
    time.sleep(seconds)
    count = webhook_receiver.came(receiver).count
    return Load(count, count / (time.monotonic() - began))


def _pend(bench: Bench, endpoint_id: int, count: int, *, due_s: float, failures: int) -> None:
    """Write so many deliveries of stored messages, ten in each lane."""
    values = {"endpoint": endpoint_id, "count": count, "conversations": count // EACH, "failures": failures}
    bench.database.do(_PENDING, values | {"due_s": due_s})
    bench.database.do("VACUUM (ANALYZE) deliveries, delivery_lanes")
    bench.database.do("CHECKPOINT")


def _empty(bench: Bench) -> None:
    for table in ("deliveries", "delivery_lanes", "delivery_attempts"):  # all at once would wait for who waits for us
        bench.database.do(f"TRUNCATE {table}")
    time.sleep(SETTLED_S)


def _compare(findings: Findings) -> None:
    few, many = (
        [each.load.per_second for each in findings.measurements if each.at.get("due") == count and "wide" in each.what]
        for count in (SMALL, LARGE)
    )
    ratios = [high / low for low, high in zip(few, many, strict=True)]
    findings.figures[f"rate with {LARGE:,} due, over that with {SMALL:,}"] = Spread.of(ratios)
