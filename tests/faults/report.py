"""What the senders felt of each kind of fault: one table, and the same as JSON."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from cases import Violation
from drill import TWO_AT_A_TIME, Blow
from faults import HOSTILE_TENANT
from history import History
from lateness import Reply

FIRST_GOAL_S = 5.0
BACKLOG_GOAL_S = 15.0
"""The contract's: after a single fault's end, until the first 2xx and until all backlog is answered."""
NEIGHBOUR_GOAL_S = 1.0
"""No reply is later than that for a hostile tenant's sake."""
BEFORE = "before any fault"


class Row(msgspec.Struct):
    """One kind of fault, all its blows together."""

    fault: str
    times: int = 0
    sent: int = 0
    """Events first sent between a blow and the next one."""
    answered: int = 0
    lost: int = 0
    duplicated: int = 0
    wrong: int = 0
    longest_without_2xx_s: float = 0.0
    first_2xx_after_s: float = 0.0
    """The worst of all blows, as is the next."""
    all_answered_after_s: float = 0.0
    latest_reply_s: float = 0.0
    """So late was a reply that was made between a blow and the next one."""


class Report(msgspec.Struct):
    transport: str
    seed: int
    seconds: float
    rows: list[Row]
    left_out: dict[str, str]
    violations: list[str]
    not_healed: list[str]
    late: list[str]
    """Blows after which the goals were missed, though all healed by itself."""
    requests: int
    retries: int
    told: int = 0
    """How many events a reader of the feed was told."""
    arrived: int = 0
    """How many requests came to the receiver of webhooks."""
    taken: int = 0
    """How many events it took, and how many times it took one again."""
    taken_again: int = 0

    def table(self) -> str:
        heads = ("fault", "times", "sent", "answered", "lost", "duplicated", "wrong", "longest without a 2xx",
                 "first 2xx after", "all answered after", "latest reply")  # fmt: skip
        lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
        for row in [*self.rows, self.total()]:
            cells = [row.fault, row.times, row.sent, row.answered, row.lost, row.duplicated, row.wrong]
            spans = [row.longest_without_2xx_s, row.first_2xx_after_s, row.all_answered_after_s,
                     row.latest_reply_s]  # fmt: skip
            lines.append("| " + " | ".join([*map(str, cells), *(f"{span:.1f} s" for span in spans)]) + " |")
        return "\n".join(lines)

    def total(self) -> Row:
        total = Row("all")
        for row in self.rows:
            for name in ("times", "sent", "answered", "lost", "duplicated", "wrong"):
                setattr(total, name, getattr(total, name) + getattr(row, name))
            for name in ("longest_without_2xx_s", "first_2xx_after_s", "all_answered_after_s", "latest_reply_s"):
                setattr(total, name, max(getattr(total, name), getattr(row, name)))
        return total


class Promises:
    """When there were 2xx, to writers and to readers."""

    def __init__(self, history: History) -> None:
        attempts = (attempt for attempts in history.attempts.values() for attempt in attempts)
        self._at = {
            "writers": sorted(attempt.ended_at for attempt in attempts if attempt.promised),
            "readers": sorted(read.ended_at for read in history.reads if read.status == 200),
        }

    def first_after(self, at: float, to: str) -> float:
        index = bisect_right(self._at[to], at)
        return self._at[to][index] - at if index < len(self._at[to]) else float("inf")

    def longest_pause(self, start: float, end: float, to: str) -> float:
        moments = self._at[to]
        inside = moments[max(0, bisect_right(moments, start) - 1) : bisect_right(moments, end) + 1]
        return max((after - before for before, after in pairwise(inside)), default=end - start)


def rows(
    blows: Sequence[Blow], history: History, violations: Sequence[Violation], replies: Iterable[Reply] = ()
) -> list[Row]:
    """One for each kind, in the order of its first blow; an event belongs to the last blow before it was sent, and a
    reply to the last one before it was made."""
    found = {BEFORE: Row(BEFORE)} | {blow.name: Row(blow.name) for blow in blows}
    starts = [blow.began_at for blow in blows]

    def row_at(moment: float) -> Row:
        index = bisect_right(starts, moment) - 1
        return found[blows[index].name if index >= 0 else BEFORE]

    for event in history.events.values():
        row_at(event.at).sent += 1
        row_at(event.at).answered += history.answer(event) is not None
    for (kind, name), count in Counter((each.kind, row_at(each.at).fault) for each in violations).items():
        setattr(found[name], kind, count)
    for reply in replies:
        row = row_at(reply.due_at + reply.late_s)
        row.latest_reply_s = max(row.latest_reply_s, reply.late_s)
    promises = Promises(history)
    for blow in blows:
        _add(found[blow.name], blow, promises)
    return list(found.values())


def _add(row: Row, blow: Blow, promises: Promises) -> None:
    healed_at = blow.ended_at + (blow.answered_after_s or 0)
    pause_s = promises.longest_pause(blow.began_at, healed_at, blow.seen_by)
    row.times += 1
    row.longest_without_2xx_s = max(row.longest_without_2xx_s, pause_s)
    row.first_2xx_after_s = max(row.first_2xx_after_s, promises.first_after(blow.ended_at, blow.seen_by))
    row.all_answered_after_s = max(row.all_answered_after_s, blow.answered_after_s or float("inf"))


def not_healed(blows: Sequence[Blow]) -> list[str]:
    """What needed a hand: something was not answered or not ready in time, or a process ended by itself."""
    return [
        f"{blow.name} ({blow.detail}): answered after {blow.answered_after_s}, ready after {blow.ready_after_s},"
        f" died: {blow.died}"
        for blow in blows
        if blow.answered_after_s is None or blow.ready_after_s is None or blow.died
    ]


def late(blows: Sequence[Blow], history: History) -> list[str]:
    """Single faults after which recovery took longer than promised."""
    promises = Promises(history)
    found = []
    for blow in (blow for blow in blows if blow.name != TWO_AT_A_TIME):
        first_s = promises.first_after(blow.ended_at, blow.seen_by)
        if blow.answered_after_s and (first_s > FIRST_GOAL_S or blow.answered_after_s > BACKLOG_GOAL_S):
            found.append(
                f"{blow.name} ({blow.detail}): first 2xx {first_s:.1f} s, all {blow.answered_after_s:.1f} s after"
            )
    return found


def late_neighbours(found: Sequence[Row]) -> list[str]:
    """Whether a hostile tenant delayed the replies of the others."""
    return [
        f"{row.fault}: a reply {row.latest_reply_s:.1f} s late"
        for row in found
        if row.fault == HOSTILE_TENANT and row.latest_reply_s > NEIGHBOUR_GOAL_S
    ]
