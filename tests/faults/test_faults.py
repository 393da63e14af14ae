"""Whatever dies, freezes, fills up or is cut off: nothing answered 2xx is lost, nothing happens twice, and all heals.

Short by default. `FAULT_SECONDS=600 make faults` is the long drill whose outcome docs/delivery-contract.md shows.
`FAULT_TRANSPORT` limits it to redis or amqp, `FAULT_ONLY` to kinds with that in their name, `FAULT_SEED` repeats a
plan, `FAULT_SENDERS` changes the load, `FAULT_REPORT` names a directory for the outcome. With `FAULT_GOALS=1`, as make
sets it, recovery must be as quick as the contract says; without, where other tests run beside, it must need no hand.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random, SystemRandom

import click
import msgspec
import pytest

import lateness
from checker import check
from cluster import TOLD_SOURCES, start_cluster
from drill import OTHERS, Drill
from laws_of_endpoints import check_endpoint, repeats
from laws_of_feed import check_feed
from needed import require_program
from report import Report, late, late_neighbours, not_healed, rows

SECONDS = float(os.environ.get("FAULT_SECONDS", "50"))
TRANSPORTS = os.environ.get("FAULT_TRANSPORT", "redis,amqp").split(",")
GOALS_COUNT = bool(os.environ.get("FAULT_GOALS"))
SENDERS = int(os.environ.get("FAULT_SENDERS") or (150 if GOALS_COUNT else 60))
"""Fewer where other tests run beside."""


@pytest.mark.timeout(SECONDS * 2 + 300)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nothing_is_lost_whatever_dies(transport: str, tmp_path: Path) -> None:
    if transport == "amqp":
        require_program("rabbitmq-server", package="rabbitmq-server")
    seed = int(os.environ.get("FAULT_SEED") or SystemRandom().randrange(10**6))
    report = drill(tmp_path / "cluster", transport, seed)
    keep(report)
    click.echo(summary(report))
    assert report.violations == []
    assert report.not_healed == []
    assert sum(row.times for row in report.rows) > 0
    if os.environ.get("CI"):
        assert report.left_out == {}
    if GOALS_COUNT:
        assert report.late == []


def drill(directory: Path, transport: str, seed: int) -> Report:
    click.echo(f"\nfaults over {transport}: {SECONDS:g} s, FAULT_SEED={seed}")
    with start_cluster(directory, transport, seed, senders=SENDERS) as cluster:
        drill = Drill(cluster, Random(seed), os.environ.get("FAULT_ONLY", ""))
        drill.run(SECONDS)
        history, stored, terms = drill.finish()
        told = drill.told()
        arrivals = drill.arrivals()
        violations = check(history, stored, terms) + check_feed(told, stored, terms, but_of=OTHERS)
        violations += check_endpoint(arrivals, told, sources=TOLD_SOURCES)
        attempts = sum(map(len, history.attempts.values()))
        found = rows(drill.blows, history, violations, lateness.replies(stored, terms))
        return Report(
            transport=transport,
            seed=seed,
            seconds=SECONDS,
            rows=found,
            left_out=drill.possible()[1],
            violations=[f"{each.kind}: conversation {each.conversation}: {each.what}" for each in violations],
            not_healed=not_healed(drill.blows),
            late=[*late(drill.blows, history), *late_neighbours(found)],
            requests=attempts,
            retries=attempts - len(history.events),
            told=len(told),
            arrived=len(arrivals),
            taken=len({each.id for each in arrivals if each.is_taken}),
            taken_again=repeats(arrivals),
        )


def keep(report: Report) -> None:
    if directory := os.environ.get("FAULT_REPORT"):
        Path(directory).mkdir(parents=True, exist_ok=True)
        path = Path(directory) / f"faults-{report.transport}"
        path.with_suffix(".json").write_bytes(msgspec.json.format(msgspec.json.encode(report)))
        path.with_suffix(".md").write_text(report.table() + "\n")


def summary(report: Report) -> str:
    left_out = [f"left out: {name}: {reason}" for name, reason in report.left_out.items()]
    findings = [*report.violations[:20], *report.not_healed, *(f"later than the goal: {each}" for each in report.late)]
    return "\n".join(
        [
            report.table(),
            f"{report.requests} requests, {report.retries} of them again; {report.told} events of the feed",
            f"{report.arrived} webhooks, {report.taken} events taken from them, {report.taken_again} of them again",
            *left_out,
            *findings,
        ]
    )
