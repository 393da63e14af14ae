"""The drill: strike fault after fault while the load runs, and wait each time until all has healed, by itself.

Nobody lends a hand but the supervisor, which starts again what died. What was measured is in the `Blow`s; what the
senders felt is read off their history later (`report`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from random import Random

import click
import msgspec

import stored
from cases import Terms
from cluster import TOLERANCE_S, WINDOW_S, Cluster
from faults import CATALOGUE, Fault, different_parts
from feed_reader import Told
from history import Follower, History
from hostile import HOSTILE, LIMITED
from receiver import Arrival
from scripted import read_journal

WARM_UP_S = 2.0
QUIET_S = (0.3, 1.5)
"""Between two faults: recovery is measured, not what the next fault does to it."""
GIVE_UP_AFTER_S = 60.0
DRAIN_TIMEOUT_S = 60.0
LOOK_INTERVAL_S = 0.05
OFTEN_TWO_AT_A_TIME = 0.3
"""In the second round and later."""
CLOCK_MARGIN_S = 3.0
TWO_AT_A_TIME = "two at a time"
FEED_QUIET_S = 5.0
SENT_WITHIN_S = 180.0
"""All deliveries, after the load has ended."""
OTHERS = (HOSTILE, LIMITED)
"""The sources whose events nobody checks one by one."""


class Blow(msgspec.Struct):
    """One fault, or two at a time, and how it healed. Moments are CLOCK_MONOTONIC; None: it did not, in time."""

    name: str
    detail: str
    seen_by: str
    began_at: float
    ended_at: float
    moves_database_clock: bool = False
    answered_after_s: float | None = None
    """Until everything that was under way at the fault's end had its answer, and no reply was overdue."""
    ready_after_s: float | None = None
    """Until every process said that it is ready."""
    died: list[str] = []
    """Processes that ended though nobody had killed them."""


class Drill:
    def __init__(self, cluster: Cluster, random: Random, only: str = "") -> None:
        self._cluster = cluster
        self._random = random
        self._follower = Follower(cluster.journal)
        self._epoch = datetime.now(UTC) - timedelta(seconds=time.monotonic())
        self._only = only
        self.blows: list[Blow] = []

    def run(self, seconds: float) -> None:
        began_at = time.monotonic()
        time.sleep(WARM_UP_S)
        for faults in self._plan():
            if time.monotonic() - began_at >= seconds:
                return
            blow = self._strike(faults)
            self.blows.append(blow)
            self._heal(blow)
            self._tell(blow, time.monotonic() - began_at)
            self._resume_endpoint()
            for fault in faults:
                fault.afterwards(self._cluster)
            time.sleep(self._random.uniform(*QUIET_S))

    def finish(self) -> tuple[History, stored.Stored, Terms]:
        """Stop the load, let the last window end, and look."""
        self._cluster.load.stop(DRAIN_TIMEOUT_S)
        time.sleep(WINDOW_S + TOLERANCE_S)
        give_up_at = time.monotonic() + GIVE_UP_AFTER_S
        while self._overdue() != 0 and time.monotonic() < give_up_at:
            time.sleep(LOOK_INTERVAL_S)
        terms = Terms(
            timedelta(seconds=WINDOW_S),
            timedelta(seconds=TOLERANCE_S),
            self._epoch,
            [
                (blow.began_at - CLOCK_MARGIN_S, blow.ended_at + CLOCK_MARGIN_S)
                for blow in self.blows
                if blow.moves_database_clock
            ],
        )
        return self._follower.catch_up(), stored.read_all(self._cluster.postgres.url, but_of=OTHERS), terms

    def told(self) -> list[Told]:
        """Return what the reader of the feed was told, as soon as it hears nothing more."""
        give_up_at = time.monotonic() + GIVE_UP_AFTER_S
        size, quiet_since = 0, time.monotonic()
        while time.monotonic() < min(give_up_at, quiet_since + FEED_QUIET_S):
            time.sleep(LOOK_INTERVAL_S)
            if (now := self._cluster.feed.stat().st_size) != size:
                size, quiet_since = now, time.monotonic()
        self._cluster.feed_reader.stop(DRAIN_TIMEOUT_S)
        return read_journal(self._cluster.feed, Told)

    def arrivals(self) -> list[Arrival]:
        """Return what the receiver of webhooks got, as soon as all is sent."""
        give_up_at = time.monotonic() + SENT_WITHIN_S
        while time.monotonic() < give_up_at:
            self._resume_endpoint()
            if self._cluster.endpoint_state() == (False, 0):
                break
            time.sleep(LOOK_INTERVAL_S)
        self._cluster.receiver.stop(DRAIN_TIMEOUT_S)
        return read_journal(self._cluster.arrivals, Arrival)

    def possible(self) -> tuple[list[Fault], dict[str, str]]:
        """(the faults this machine can have, why it cannot have the others)"""
        wanted = [fault for fault in CATALOGUE if self._only in fault.name]
        reasons = {fault.name: fault.why_not(self._cluster) for fault in wanted}
        possible = [fault for fault in wanted if reasons[fault.name] is None]
        return possible, {name: reason for name, reason in reasons.items() if reason}

    def _plan(self) -> Iterator[Sequence[Fault]]:
        """Every kind once, in a random order but for those that come first; then for ever more, often two at a time."""
        faults, _ = self.possible()
        for fault in sorted(self._random.sample(faults, len(faults)), key=lambda fault: not fault.comes_first):
            yield [fault]
        while True:
            for fault in self._random.sample(faults, len(faults)):
                two = self._random.random() < OFTEN_TWO_AT_A_TIME
                yield different_parts(self._random, faults) if two else [fault]

    def _strike(self, faults: Sequence[Fault]) -> Blow:
        began_at = time.monotonic()
        with ExitStack() as stack:
            details = [stack.enter_context(fault.strike(self._cluster, self._random)) for fault in faults]
            time.sleep(max(self._random.uniform(*fault.lasts_s) for fault in faults))
        alone = len(faults) == 1
        return Blow(
            faults[0].name if alone else TWO_AT_A_TIME,
            details[0] if alone else ", ".join(f"{f.name} ({d})" for f, d in zip(faults, details, strict=True)),
            faults[0].seen_by if alone else "writers",
            began_at,
            time.monotonic(),
            moves_database_clock=any(fault.moves_database_clock for fault in faults),
        )

    def _heal(self, blow: Blow) -> None:
        give_up_at = time.monotonic() + GIVE_UP_AFTER_S
        while time.monotonic() < give_up_at:
            blow.died += self._cluster.supervise()
            if blow.answered_after_s is None and self._all_answered(blow):
                blow.answered_after_s = time.monotonic() - blow.ended_at
            if blow.ready_after_s is None and not self._cluster.unready():
                blow.ready_after_s = time.monotonic() - blow.ended_at
            if blow.answered_after_s is not None and blow.ready_after_s is not None:
                return
            time.sleep(LOOK_INTERVAL_S)

    def _resume_endpoint(self) -> None:
        """Do what a person does whom the metric tells that it is paused."""
        state = self._cluster.endpoint_state()
        if state is not None and state[0]:
            self._cluster.resume_endpoint()

    def _all_answered(self, blow: Blow) -> bool:
        waiting = self._follower.catch_up().waiting.values()
        return not any(event.at <= blow.ended_at for event in waiting) and self._overdue() == 0

    def _overdue(self) -> int | None:
        return stored.overdue(self._cluster.postgres.url, longest_s=2 * max(WINDOW_S, TOLERANCE_S))

    def _tell(self, blow: Blow, elapsed_s: float) -> None:
        healed = (
            "did not heal" if blow.answered_after_s is None else f"all answered after {blow.answered_after_s:.1f} s"
        )
        lasted_s = blow.ended_at - blow.began_at
        click.echo(f"{elapsed_s:5.0f} s  {blow.name} ({blow.detail}), {lasted_s:.1f} s: {healed}")
