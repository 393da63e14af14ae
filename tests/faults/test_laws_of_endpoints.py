"""Each law of the endpoints finds what is against it."""

from __future__ import annotations

import json

import msgspec
import pytest

from feed_reader import Told
from laws_of_endpoints import check_endpoint, repeats
from receiver import Arrival, arrived
from signatures import OTHER_SECRET, signature

KEY, OTHER = "6a41b347-8d80-4ce9-84ba-7af66f369f6a", "0a5a1ab1-a1b1-4e1c-8a1e-000000000001"
TOLD = [
    Told(1.0, "conversation.opened", KEY, "default", id="evt_1"),
    Told(2.0, "message.received", KEY, "default", "first", 1, "content", id="evt_2"),
    Told(2.5, "conversation.opened", OTHER, "default", id="evt_3"),
    Told(3.0, "conversation.closed", KEY, "default", id="evt_4"),
    Told(4.0, "conversation.opened", "of another source", "hostile", id="evt_5"),
]


def came(told: Told, *, is_taken: bool = True, **changed: object) -> Arrival:
    arrival = Arrival(
        told.at, told.id, is_taken, told.type, told.conversation, told.source, told.message, told.position, told.content
    )
    return msgspec.structs.replace(arrival, **changed)


FIRST, SECOND, ELSEWHERE, LAST = ALL = [came(each) for each in TOLD[:4]]


def kinds(*arrivals: Arrival) -> list[str]:
    return [each.kind for each in check_endpoint(arrivals, TOLD, sources=["default"])]


def test_all_that_it_wants_in_its_order_is_well() -> None:
    assert kinds(*ALL) == []
    assert kinds(ELSEWHERE, FIRST, SECOND, LAST) == []
    assert repeats(ALL) == 0


def test_an_event_may_come_again_also_after_the_next_one() -> None:
    again = [came(TOLD[0], is_taken=False), FIRST, SECOND, FIRST, ELSEWHERE, LAST, SECOND]
    assert kinds(*again) == []
    assert repeats(again) == 2


def test_what_never_came_was_not_taken_or_was_given_up_is_lost() -> None:
    assert kinds(FIRST, SECOND, LAST) == ["lost"]
    assert kinds(FIRST, SECOND, ELSEWHERE, came(TOLD[3], is_taken=False)) == ["lost"]
    assert kinds(FIRST, SECOND, ELSEWHERE, came(TOLD[3], gap=True)) == ["lost"]


def test_what_is_invented_is_found() -> None:
    assert kinds(*ALL, came(TOLD[4])) == ["wrong"]
    assert kinds(FIRST, came(TOLD[1], content="other"), ELSEWHERE, LAST) == ["wrong"]
    assert kinds(*ALL, Arrival(5.0, problem="a request was not signed")) == ["wrong"]


def test_an_event_before_the_one_before_it_is_taken_is_found() -> None:
    assert kinds(SECOND, FIRST, ELSEWHERE, LAST) == ["wrong"]
    assert kinds(came(TOLD[0], is_taken=False), SECOND, FIRST, ELSEWHERE, LAST) == ["wrong"]


@pytest.mark.parametrize(
    ("secret", "ago_s", "id_", "is_stale", "has_problem"),
    [
        ({}, 0, "evt_1", False, False),
        ({}, 3600, "evt_1", True, False),
        ({"secret": OTHER_SECRET}, 0, "evt_1", False, True),
        ({}, 0, "evt_2", False, True),
    ],
    ids=["as it should be", "an hour late", "another one's signature", "another id"],
)
def test_the_receiver_looks_at_signature_hour_and_id(
    secret: dict[str, str], ago_s: float, id_: str, *, is_stale: bool, has_problem: bool
) -> None:
    event = {"id": "evt_1", "type": "conversation.opened", "conversation_id": KEY, "source": "default", "data": {}}
    body = json.dumps(event).encode()
    found = arrived(signature(body, message_id=id_, ago_s=ago_s, **secret), body, is_taken=True)
    assert (found.is_stale, bool(found.problem)) == (is_stale, has_problem)
