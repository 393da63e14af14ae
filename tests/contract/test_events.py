"""POST /webhook/: each row of the answer table."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from client import SAID, Client, event, replies


def test_a_new_conversation_is_created(client: Client) -> None:
    conversation_id = str(uuid4())
    answer = client.open(conversation_id)
    assert answer.status == 201
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body == {"status": "created", "conversation_id": conversation_id}


def test_an_open_conversation_exists(client: Client) -> None:
    conversation_id = client.opened()
    assert client.open(conversation_id).verdict == (400, "conversation_exists")
    assert client.read(conversation_id)["status"] == "OPEN"


def test_a_closed_conversation_exists_and_stays_closed(client: Client) -> None:
    conversation_id = client.opened()
    client.close(conversation_id)
    assert client.open(conversation_id).verdict == (400, "conversation_exists")
    assert client.read(conversation_id)["status"] == "CLOSED"


def test_a_message_to_an_open_conversation_is_accepted(client: Client) -> None:
    conversation_id, message_id = client.opened(), str(uuid4())
    answer = client.say(conversation_id, message_id=message_id)
    assert answer.status == 202
    assert answer.body == {"status": "accepted", "message_id": message_id, "conversation_id": conversation_id}


def test_a_message_to_an_unknown_conversation_is_held(client: Client) -> None:
    conversation_id, message_id = str(uuid4()), str(uuid4())
    answer = client.say(conversation_id, message_id=message_id)
    assert answer.status == 202
    assert answer.body == {"status": "held", "message_id": message_id, "conversation_id": conversation_id}


def test_the_very_same_message_again_is_a_duplicate_and_changes_nothing(client: Client) -> None:
    conversation_id = client.opened()
    message_id = client.accepted(conversation_id, "Oi")
    before = client.read(conversation_id)
    answer = client.say(conversation_id, "Oi", message_id=message_id)
    assert answer.status == 202
    assert answer.body == {"status": "duplicate", "message_id": message_id, "conversation_id": conversation_id}
    assert client.read(conversation_id) == before


def test_another_timestamp_does_not_make_another_message(client: Client) -> None:
    conversation_id = client.opened()
    message_id = client.accepted(conversation_id, timestamp="2025-06-04T14:20:05Z")
    again = client.say(conversation_id, message_id=message_id, timestamp="2025-06-04T15:00:00Z")
    assert again.verdict == (202, "duplicate")
    assert client.read(conversation_id)["messages"][0]["timestamp"] == "2025-06-04T14:20:05Z"


def test_the_very_same_message_is_a_duplicate_also_when_its_conversation_is_closed_meanwhile(client: Client) -> None:
    conversation_id = client.opened()
    message_id = client.accepted(conversation_id)
    client.close(conversation_id)
    assert client.say(conversation_id, message_id=message_id).verdict == (202, "duplicate")


def test_a_message_to_a_closed_conversation_is_rejected_and_not_stored(client: Client) -> None:
    conversation_id = client.opened()
    client.close(conversation_id)
    assert client.say(conversation_id).verdict == (400, "conversation_closed")
    assert client.read(conversation_id)["messages"] == []


def test_a_rejected_message_does_not_take_its_id(client: Client) -> None:
    closed, message_id = client.opened(), str(uuid4())
    client.close(closed)
    assert client.say(closed, message_id=message_id).verdict == (400, "conversation_closed")
    assert client.say(client.opened(), message_id=message_id).verdict == (202, "accepted")


def test_an_id_with_other_content_conflicts(client: Client) -> None:
    conversation_id = client.opened()
    message_id = client.accepted(conversation_id, SAID)
    assert client.say(conversation_id, "Olá", message_id=message_id).verdict == (400, "message_conflict")
    assert [message["content"] for message in client.read(conversation_id)["messages"]] == [SAID]


def test_an_id_in_another_conversation_conflicts(client: Client) -> None:
    one, other = client.opened(), client.opened()
    message_id = client.accepted(one)
    assert client.say(other, message_id=message_id).verdict == (400, "message_conflict")
    assert client.read(other)["messages"] == []


def test_an_id_of_a_reply_conflicts(client: Client) -> None:
    conversation_id = client.opened()
    client.accepted(conversation_id)
    client.close(conversation_id)
    [reply] = replies(client.read(conversation_id))
    again = client.say(conversation_id, reply["content"], message_id=reply["id"])
    assert again.verdict == (400, "message_conflict")


def test_a_conflict_is_told_also_of_a_closed_conversation(client: Client) -> None:
    closed = client.opened()
    client.close(closed)
    message_id = client.accepted(client.opened())
    assert client.say(closed, message_id=message_id).verdict == (400, "message_conflict")


def test_messages_and_conversations_may_share_an_id(client: Client) -> None:
    conversation_id = client.opened()
    assert client.say(conversation_id, message_id=conversation_id).verdict == (202, "accepted")


def test_an_open_conversation_is_closed(client: Client) -> None:
    conversation_id = client.opened()
    answer = client.close(conversation_id)
    assert answer.status == 200
    assert answer.body == {"status": "closed", "conversation_id": conversation_id}
    assert client.read(conversation_id)["status"] == "CLOSED"


def test_an_unknown_conversation_is_not_found_to_close(client: Client) -> None:
    assert client.close(str(uuid4())).verdict == (400, "conversation_not_found")


def test_a_closed_conversation_is_already_closed(client: Client) -> None:
    conversation_id = client.opened()
    client.close(conversation_id)
    assert client.close(conversation_id).verdict == (400, "conversation_already_closed")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"not JSON",
        b"{'type': 'NEW_CONVERSATION'}",
        b'{"type": NaN}',
        b'{"type": "NEW_CONVERSATION"} {}',
        b'{"type": "\xff"}',
        b'{"type": "raw\ncontrol"}',
        json.dumps(event("NEW_CONVERSATION", id="6a41b347-8d80-4ce9-84ba-7af66f369f6a")).encode("utf-16"),
    ],
    ids=ascii,
)
def test_what_is_not_json_is_invalid_json(client: Client, body: bytes) -> None:
    assert client.request("POST", "/webhook/", body).verdict == (400, "invalid_json")


def test_json_nested_beyond_reason_is_rejected_like_any_other(client: Client) -> None:
    assert client.request("POST", "/webhook/", b"[" * 100_000).status == 400


@pytest.mark.parametrize("value", [None, True, 1, 1.5, "NEW_CONVERSATION", [], [{}], {}], ids=repr)
def test_json_that_is_no_event_is_an_invalid_event(client: Client, value: object) -> None:
    answer = client.post(value)
    assert answer.verdict == (400, "invalid_event")
    assert answer.body["errors"]
