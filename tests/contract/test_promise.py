"""A 2xx is a promise: what it answered is there for whoever reads after it, on any connection."""

from __future__ import annotations

from functools import partial
from uuid import uuid4

from client import Client, inbound, named, together


def test_what_was_answered_is_read_at_once(client: Client) -> None:
    conversation_id = client.opened()
    assert client.read(conversation_id)["status"] == "OPEN"
    message_id = client.accepted(conversation_id)
    assert inbound(client.read(conversation_id)) == [message_id]
    assert client.close(conversation_id).status == 200
    conversation = client.read(conversation_id)
    assert conversation["status"] == "CLOSED"
    assert named(conversation) == [message_id]


def test_what_was_held_is_read_as_soon_as_its_conversation_is_answered(client: Client) -> None:
    conversation_id = str(uuid4())
    message_id = client.held(conversation_id)
    assert client.open(conversation_id).status == 201
    assert inbound(client.read(conversation_id)) == [message_id]


def test_what_was_answered_is_read_at_once_by_many_too(client: Client) -> None:
    """Read-your-writes must not depend on batches being small."""

    def life() -> None:
        for _ in range(5):
            test_what_was_answered_is_read_at_once(client)

    together([life] * 16)


def test_sending_everything_again_is_safe(client: Client) -> None:
    """A sender that lost every answer repeats each event, and nothing happens twice."""
    conversation_id, ids = str(uuid4()), [str(uuid4()) for _ in range(3)]
    events = [
        partial(client.open, conversation_id),
        *(partial(client.say, conversation_id, message_id=it) for it in ids),
        partial(client.close, conversation_id),
    ]
    first = [send().verdict for send in events]
    after_first = client.read(conversation_id)
    again = [send().verdict for send in events]
    assert first == [(201, "created"), *[(202, "accepted")] * 3, (200, "closed")]
    assert again == [
        (400, "conversation_exists"),
        *[(202, "duplicate")] * 3,
        (400, "conversation_already_closed"),
    ]
    assert client.read(conversation_id) == after_first
