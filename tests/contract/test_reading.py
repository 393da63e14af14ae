"""GET /conversations/{id}/: the shape of the answer, its order, and who is not there."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest

from client import Client, inbound, replies

UTC_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")


def test_a_conversation_is_shown_with_exactly_these_fields(client: Client) -> None:
    conversation_id = client.opened()
    message_id = client.accepted(conversation_id, "Olá", timestamp="2025-06-04T14:20:05Z")
    answer = client.get(conversation_id)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body.keys() == {"id", "status", "created_at", "updated_at", "messages"}
    assert answer.body["id"] == conversation_id
    assert answer.body["status"] == "OPEN"
    assert answer.body["messages"] == [
        {"id": message_id, "type": "INBOUND", "content": "Olá", "timestamp": "2025-06-04T14:20:05Z"}
    ]


def test_a_reply_is_shown_like_any_message(client: Client) -> None:
    conversation_id = client.opened()
    client.accepted(conversation_id)
    client.close(conversation_id)
    [reply] = replies(client.read(conversation_id))
    assert reply.keys() == {"id", "type", "content", "timestamp"}
    assert str(UUID(reply["id"])) == reply["id"]
    assert UTC_TIMESTAMP.fullmatch(reply["timestamp"])


def test_a_new_conversation_is_open_and_empty(client: Client) -> None:
    conversation = client.read(client.opened())
    assert conversation["status"] == "OPEN"
    assert conversation["messages"] == []


def test_created_at_and_updated_at_are_in_utc_and_only_updated_at_moves(client: Client) -> None:
    conversation_id = client.opened()
    before = client.read(conversation_id)
    client.close(conversation_id)
    after = client.read(conversation_id)
    shown = [before["created_at"], before["updated_at"], after["updated_at"]]
    assert all(UTC_TIMESTAMP.fullmatch(timestamp) for timestamp in shown)
    assert after["created_at"] == before["created_at"]
    assert datetime.fromisoformat(before["created_at"]) <= datetime.fromisoformat(before["updated_at"])
    assert datetime.fromisoformat(before["updated_at"]) < datetime.fromisoformat(after["updated_at"])


def test_created_at_is_when_the_event_arrived_not_what_it_says(client: Client) -> None:
    event_time = datetime.fromisoformat("2025-06-04T14:20:05Z")  # what the test client always says
    created_at = datetime.fromisoformat(client.read(client.opened())["created_at"])
    assert created_at - event_time > timedelta(days=1)


def test_messages_are_in_the_order_of_their_timestamps(client: Client) -> None:
    conversation_id = client.opened()
    third = client.accepted(conversation_id, timestamp="2025-06-04T14:20:05.000002Z")
    first = client.accepted(conversation_id, timestamp="2025-06-04T16:20:05+02:00")
    second = client.accepted(conversation_id, timestamp="2025-06-04T14:20:05.000001")
    fourth = client.accepted(conversation_id, timestamp="2099-01-01T00:00:00Z")
    assert inbound(client.read(conversation_id)) == [first, second, third, fourth]


def test_a_reply_has_its_place_in_the_order_too(client: Client) -> None:
    conversation_id = client.opened()
    client.accepted(conversation_id, timestamp="2099-01-01T00:00:00Z")
    client.accepted(conversation_id, timestamp="1999-01-01T00:00:00Z")
    client.close(conversation_id)
    types = [message["type"] for message in client.read(conversation_id)["messages"]]
    assert types == ["INBOUND", "OUTBOUND", "INBOUND"]


def test_arrival_breaks_ties_of_the_order(client: Client) -> None:
    conversation_id = client.opened()
    arrived = [client.accepted(conversation_id) for _ in range(10)]
    assert inbound(client.read(conversation_id)) == arrived


def test_an_unknown_conversation_is_not_found_and_a_close_does_not_make_it_known(client: Client) -> None:
    conversation_id = str(uuid4())
    assert client.get(conversation_id).status == 404
    client.close(conversation_id)
    assert client.get(conversation_id).status == 404


@pytest.mark.parametrize(
    "no_id",
    [
        "conversation",
        "1",
        "6a41b347-8d80-4ce9-84ba-7af66f369f6",
        "0x41b3478d804ce984ba7af66f369f6a",
        "%00",
        "%ff",
        "a%20b",
    ],
)
def test_what_is_no_uuid_is_not_found(client: Client, no_id: str) -> None:
    assert client.get(no_id).verdict[0] == 404


@pytest.mark.parametrize(
    "form",
    [
        lambda it: str(it).upper(),
        lambda it: it.hex,
        lambda it: f"%7B{it}%7D",
        lambda it: it.urn,
    ],
    ids=["upper case", "no hyphens", "braces", "urn"],
)
def test_the_id_may_be_written_in_any_usual_form(client: Client, form: Callable[[UUID], str]) -> None:
    conversation_id = client.opened()
    assert client.read(form(UUID(conversation_id)))["id"] == conversation_id


def test_the_slash_at_the_end_may_be_missing(client: Client) -> None:
    conversation_id = client.opened()
    answer = client.request("GET", f"/conversations/{conversation_id}")
    assert answer.status == 200
    assert answer.body == client.read(conversation_id)
    assert client.request("GET", f"/conversations/{uuid4()}").status == 404


def test_a_read_changes_nothing(client: Client) -> None:
    conversation_id = client.opened()
    client.accepted(conversation_id)
    assert client.read(conversation_id) == client.read(conversation_id)
