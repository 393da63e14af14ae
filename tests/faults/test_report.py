"""The table tells what the senders felt: from the fault's begin to the healing, to each kind of fault its own."""

from __future__ import annotations

import pytest

from cases import Violation
from drill import TWO_AT_A_TIME, Blow
from faults import HOSTILE_TENANT
from history import Attempt, Event, History, Record
from lateness import Reply
from report import BEFORE, late, late_neighbours, not_healed, rows

OPENED = "NEW_CONVERSATION"


def promised(number: int, sent_at: float, ended_at: float) -> list[Record]:
    event = Event(number, sent_at, OPENED, str(number), "2025-06-04T14:20:05Z")
    return [event, Attempt(number, sent_at, ended_at, 201, "created")]


def blow(name: str, began_at: float, ended_at: float, answered_after_s: float | None = 1.0) -> Blow:
    return Blow(name, "", "writers", began_at, ended_at, answered_after_s=answered_after_s, ready_after_s=0.5)


HISTORY = History.of(
    *promised(0, 1, 2),
    *promised(1, 9, 9.5),
    *promised(2, 11, 16),  # under way from before the end at 14 s
    *promised(3, 17, 18),
    *promised(4, 31, 31.5),
)
BLOWS = [blow("kill", 10, 14, 2), blow("freeze", 30, 31)]


def test_an_event_belongs_to_the_last_fault_before_it() -> None:
    found = {row.fault: (row.times, row.sent, row.answered) for row in rows(BLOWS, HISTORY, [])}
    assert found == {BEFORE: (0, 2, 2), "kill": (1, 2, 2), "freeze": (1, 1, 1)}


def test_a_violation_belongs_to_its_fault_too() -> None:
    violations = [Violation("lost", "2", 11, ""), Violation("wrong", "4", 31, ""), Violation("wrong", "4", 31, "")]
    found = {row.fault: (row.lost, row.duplicated, row.wrong) for row in rows(BLOWS, HISTORY, violations)}
    assert found == {BEFORE: (0, 0, 0), "kill": (1, 0, 0), "freeze": (0, 0, 2)}


def test_silence_is_measured_from_the_last_2xx_before_to_the_first_after() -> None:
    _, kill, freeze = rows(BLOWS, HISTORY, [])
    assert (kill.longest_without_2xx_s, kill.first_2xx_after_s, kill.all_answered_after_s) == (6.5, 2, 2)
    assert freeze.first_2xx_after_s == 0.5


def test_without_any_2xx_the_silence_is_endless() -> None:
    [_, row] = rows([blow("kill", 40, 50)], HISTORY, [])
    assert row.first_2xx_after_s == float("inf")
    assert row.longest_without_2xx_s == 11


def test_a_late_reply_belongs_to_the_fault_in_which_it_was_made() -> None:
    found = {row.fault: row.latest_reply_s for row in rows(BLOWS, HISTORY, [], [Reply(9.9, 4), Reply(30, 0.1)])}
    assert found == {BEFORE: 0, "kill": 4, "freeze": 0.1}


def test_a_hostile_tenant_may_delay_the_others_by_a_second() -> None:
    found = rows([blow(HOSTILE_TENANT, 10, 14), blow("kill", 30, 31)], HISTORY, [], [Reply(12, 0.9), Reply(40, 9)])
    assert late_neighbours(found) == []
    found = rows([blow(HOSTILE_TENANT, 10, 14)], HISTORY, [], [Reply(12, 1.1)])
    assert late_neighbours(found) == ["a hostile tenant: a reply 1.1 s late"]


@pytest.mark.parametrize(
    ("struck", "is_late"),
    [
        (blow("kill", 9.9, 14, 2), False),
        (blow("kill", 9.9, 10.5, 2), True),
        (blow("kill", 9.9, 14, 15.1), True),
        (blow(TWO_AT_A_TIME, 9.9, 14, 15.1), False),
    ],
    ids=["in time", "first 2xx after 5.5 s", "all answered after 15.1 s", "two faults"],
)
def test_the_goals_are_five_and_fifteen_seconds(struck: Blow, is_late: bool) -> None:  # noqa: FBT001 (a parameter)
    assert bool(late([struck], HISTORY)) is is_late


def test_what_never_healed_or_died_by_itself_is_told() -> None:
    died = blow("disk full", 1, 2)
    died.died = ["webhook"]
    assert not_healed([blow("kill", 1, 2)]) == []
    assert len(not_healed([blow("kill", 1, 2, answered_after_s=None), died])) == 2
