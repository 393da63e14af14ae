"""How late replies are when very many groups end within a few seconds."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import stored
from bench import Bench, Options, started
from database import Database
from findings import Findings
from installation import BenchError
from measurement import Spread
from outcome import PERCENTILES, Load, percentiles

HEAD_START_S = 3.0
"""From the last group stored to the first that ends. More than storing them takes, or BenchError."""
WINDOW_S = 5.0
VISIBLE, MADE = "reply visible", "reply made"
HOLD_TOLERANCE_S = 3600
"""Realmate settles what is due further ahead than twice its longest wait: it takes its clock to have been set back."""
LOOK_INTERVAL_S = 0.01
GIVE_UP_AFTER_S = 120.0

_FIRST_DUE = "SELECT min(due_at) FROM conversations WHERE due_at IS NOT NULL"
_REPLIES = "SELECT count(*) FROM messages WHERE kind = 2"
_MADE = """
    SELECT percentile_disc(CAST(%(shares)s AS float8[])) WITHIN GROUP (
        ORDER BY CAST(extract(epoch FROM reply.arrived_at - conversation.created_at) AS float8)
    ) FROM messages AS reply JOIN conversations AS conversation ON conversation.id = reply.conversation_id
    WHERE reply.kind = 2
"""


@dataclass
class Watermark:
    """Up to which end of a group all replies could be seen, and when: both in seconds from the first group's end."""

    at_s: list[float] = field(default_factory=list)
    answered_until_s: list[float] = field(default_factory=list)


def find(options: Options) -> Findings:
    with started(options, GROUP_WINDOW_S=str(WINDOW_S), HOLD_TOLERANCE_S=str(HOLD_TOLERANCE_S)) as bench:
        findings = Findings(bench.postgres)
        for run in range(1, options.runs + 1):
            _measure(bench, findings, run)
    for what in (VISIBLE, MADE):
        found = [each.load for each in findings.measurements if each.what == what]
        findings.figures[f"{what}, p99 ms"] = Spread.of(load.latency_ms["p99"] for load in found)
    return findings


def _measure(bench: Bench, findings: Findings, run: int) -> None:
    options = bench.options
    groups = stored.Groups(options.groups, options.messages_per_group, options.over_s, WINDOW_S)
    print(f"  run {run}/{options.runs}  storing {groups.count:,} groups ... ", end="", flush=True)
    bench.database.begin_anew()
    stored.grouped_messages(bench.database, groups)
    first_end: datetime = bench.database.one("SELECT clock_timestamp()") + timedelta(seconds=HEAD_START_S)
    stored.open_groups(bench.database, groups, first_end)
    if bench.database.one("SELECT clock_timestamp()") > first_end:
        raise BenchError(f"storing the groups took longer than {HEAD_START_S:g} s: fewer --groups, please")
    print(f"they end within {groups.over_s:g} s ... ", end="", flush=True)
    at = {"groups": groups.count, "s": groups.over_s}
    visible = bench.watch(VISIBLE, at, lambda: _visible(bench.database, first_end, groups), run=run)
    print(f"p99 {visible.load.latency_ms['p99']:.0f} ms", flush=True)
    made = replace(visible.load, latency_ms=_made_ms(bench.database))
    findings.measurements += [visible, replace(visible, what=MADE, load=made, cpu_s={})]


def _visible(database: Database, first_end: datetime, groups: stored.Groups) -> Load:
    """Watch the earliest group that is still open, from outside: all before it have been answered and committed."""
    watermark = Watermark()
    give_up_at = time.monotonic() + HEAD_START_S + groups.over_s + GIVE_UP_AFTER_S
    while not watermark.answered_until_s or watermark.answered_until_s[-1] < groups.over_s:
        if time.monotonic() > give_up_at:
            raise BenchError(f"Realmate left groups unanswered for {GIVE_UP_AFTER_S:g} s")
        first_due = database.one(_FIRST_DUE)
        now = database.one("SELECT clock_timestamp()")
        watermark.at_s.append((now - first_end).total_seconds())
        watermark.answered_until_s.append(
            groups.over_s if first_due is None else (first_due - first_end).total_seconds()
        )
        time.sleep(LOOK_INTERVAL_S)
    replies = database.one(_REPLIES)
    return Load(
        events=replies,
        per_second=replies / watermark.at_s[-1],
        latency_ms=_percentiles_ms(watermark, groups),
        unsent=abs(groups.count - replies),
    )


def _percentiles_ms(watermark: Watermark, groups: stored.Groups) -> dict[str, float]:
    """Of all groups: each was seen answered at the first look that found none open up to it."""
    late_ms = []
    look = 0
    for group in range(groups.count):
        end_s = groups.over_s * group / groups.count
        while watermark.answered_until_s[look] <= end_s:
            look += 1
        late_ms.append(1e3 * (watermark.at_s[look] - end_s))
    return percentiles(late_ms)


def _made_ms(database: Database) -> dict[str, float]:
    """By the replies' own time, when their transaction had its locks: earlier than anybody can see them."""
    seconds = database.one(_MADE, {"shares": list(PERCENTILES.values())})
    return {name: 1e3 * (after_s - WINDOW_S) for name, after_s in zip(PERCENTILES, seconds, strict=True)}
