"""Messages that come before their conversation: held 6 s, then in it or expired.

Waits are real. What must still be held is asked for 2 s before its time or sooner, what must be expired 2 s after.
"""

from __future__ import annotations

import time
from uuid import uuid4

from client import Client, inbound, read_time, replies, reply_to

EXPIRY_S = 8.0
"""6 s by the contract, and 2 s of margin."""


def test_a_conversation_with_only_held_messages_does_not_exist(client: Client) -> None:
    conversation_id = str(uuid4())
    client.held(conversation_id)
    assert client.get(conversation_id).status == 404
    assert client.close(conversation_id).verdict == (400, "conversation_not_found")


def test_a_held_message_enters_as_if_it_had_come_after(client: Client) -> None:
    conversation_id = str(uuid4())
    message_id = client.held(conversation_id, "abc")
    time.sleep(2)
    assert client.open(conversation_id).verdict == (201, "created")
    assert inbound(client.read(conversation_id)) == [message_id]
    [reply] = replies(client.read_answered(conversation_id))
    assert reply["content"] == reply_to(message_id)


def test_a_message_held_too_long_never_enters(client: Client) -> None:
    conversation_id = str(uuid4())
    message_id = client.held(conversation_id, "dce")
    time.sleep(EXPIRY_S)
    assert client.open(conversation_id).verdict == (201, "created")
    assert client.read(conversation_id)["messages"] == []
    assert client.say(conversation_id, "dce", message_id=message_id).verdict == (400, "hold_expired")
    assert client.close(conversation_id).verdict == (200, "closed")
    assert client.say(conversation_id, "dce", message_id=message_id).verdict == (400, "hold_expired")
    assert client.read(conversation_id)["messages"] == []


def test_an_expired_message_is_told_so_without_its_conversation_too(client: Client) -> None:
    conversation_id = str(uuid4())
    message_id = client.held(conversation_id)
    time.sleep(EXPIRY_S)
    assert client.get(conversation_id).status == 404
    assert client.say(conversation_id, message_id=message_id).verdict == (400, "hold_expired")
    assert client.get(conversation_id).status == 404


def test_each_held_message_has_its_own_tolerance(client: Client) -> None:
    conversation_id = str(uuid4())
    early = client.held(conversation_id)
    time.sleep(EXPIRY_S - 2)
    late = client.held(conversation_id)
    time.sleep(2)
    client.open(conversation_id)
    assert inbound(client.read(conversation_id)) == [late]
    assert client.say(conversation_id, message_id=early).verdict == (400, "hold_expired")
    assert client.say(conversation_id, message_id=late).verdict == (202, "duplicate")


def test_a_conversation_that_lost_a_message_still_holds_the_next(client: Client) -> None:
    conversation_id = str(uuid4())
    client.held(conversation_id)
    time.sleep(EXPIRY_S)
    message_id = client.held(conversation_id)
    client.open(conversation_id)
    assert inbound(client.read(conversation_id)) == [message_id]


def test_sending_a_held_message_again_does_not_lengthen_its_wait(client: Client) -> None:
    conversation_id = str(uuid4())
    message_id = client.held(conversation_id)
    time.sleep(3)
    assert client.say(conversation_id, message_id=message_id).verdict == (202, "duplicate")
    time.sleep(EXPIRY_S - 3)
    client.open(conversation_id)
    assert client.read(conversation_id)["messages"] == []


def test_a_held_message_takes_its_id(client: Client) -> None:
    conversation_id = str(uuid4())
    message_id = client.held(conversation_id, "Oi")
    assert client.say(conversation_id, "Olá", message_id=message_id).verdict == (400, "message_conflict")
    assert client.say(str(uuid4()), "Oi", message_id=message_id).verdict == (400, "message_conflict")
    assert client.say(client.opened(), "Oi", message_id=message_id).verdict == (400, "message_conflict")


def test_a_failed_close_leaves_the_held_messages_waiting(client: Client) -> None:
    conversation_id = str(uuid4())
    message_id = client.held(conversation_id)
    client.close(conversation_id)
    client.open(conversation_id)
    assert inbound(client.read(conversation_id)) == [message_id]


def test_a_conversation_closed_at_once_still_answers_what_it_held(client: Client) -> None:
    conversation_id = str(uuid4())
    held = [client.held(conversation_id) for _ in range(3)]
    client.open(conversation_id)
    client.close(conversation_id)
    [reply] = replies(client.read(conversation_id))
    assert reply["content"] == reply_to(*held)


def test_a_held_message_counts_from_its_own_arrival_for_its_group(client: Client) -> None:
    conversation_id = str(uuid4())
    client.held(conversation_id)
    time.sleep(3)
    client.open(conversation_id)
    conversation = client.read_answered(conversation_id)
    waited_s = read_time(replies(conversation)[0]["timestamp"]) - read_time(conversation["created_at"])
    assert waited_s < 4  # the 2 that are left of its 5, not 5 from the opening


def test_a_held_message_and_one_after_the_opening_are_one_group(client: Client) -> None:
    conversation_id = str(uuid4())
    held = client.held(conversation_id)
    time.sleep(2)
    client.open(conversation_id)
    time.sleep(1)
    accepted = client.accepted(conversation_id)
    [reply] = replies(client.read_answered(conversation_id))
    assert reply["content"] == reply_to(held, accepted)


def test_held_messages_are_ordered_by_their_timestamps_too(client: Client) -> None:
    conversation_id = str(uuid4())
    later = client.say(conversation_id, timestamp="2025-06-04T14:20:09Z").body["message_id"]
    earlier = client.say(conversation_id, timestamp="2025-06-04T14:20:01Z").body["message_id"]
    client.open(conversation_id)
    assert inbound(client.read(conversation_id)) == [earlier, later]
