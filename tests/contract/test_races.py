"""What holds however many requests come at the same moment. Each race has its own conversations."""

from __future__ import annotations

import time
from collections import Counter
from functools import partial
from uuid import uuid4

import pytest

from client import MARKER, Answer, Client, inbound, named, replies, reply_to, together

ROUNDS = range(3)
"""A race is lost by luck, too: each is run some times over."""


def verdicts(answers: list[Answer]) -> Counter[tuple[int, str]]:
    return Counter(answer.verdict for answer in answers)


@pytest.mark.parametrize("_", ROUNDS)
def test_of_identical_new_conversations_one_wins(client: Client, _: int) -> None:
    conversation_id = str(uuid4())
    answers = together([partial(client.open, conversation_id)] * 20)
    assert verdicts(answers) == {(201, "created"): 1, (400, "conversation_exists"): 19}


@pytest.mark.parametrize("_", ROUNDS)
def test_of_identical_closes_one_wins_and_one_reply_is_made(client: Client, _: int) -> None:
    conversation_id = client.opened()
    message_id = client.accepted(conversation_id)
    answers = together([partial(client.close, conversation_id)] * 20)
    assert verdicts(answers) == {(200, "closed"): 1, (400, "conversation_already_closed"): 19}
    [reply] = replies(client.read(conversation_id))
    assert reply["content"] == reply_to(message_id)


@pytest.mark.parametrize("_", ROUNDS)
def test_of_identical_messages_one_is_stored(client: Client, _: int) -> None:
    conversation_id, message_id = client.opened(), str(uuid4())
    answers = together([partial(client.say, conversation_id, message_id=message_id)] * 20)
    assert verdicts(answers) == {(202, "accepted"): 1, (202, "duplicate"): 19}
    client.close(conversation_id)
    conversation = client.read(conversation_id)
    assert inbound(conversation) == named(conversation) == [message_id]


@pytest.mark.parametrize("_", ROUNDS)
def test_of_identical_early_messages_one_is_held(client: Client, _: int) -> None:
    conversation_id, message_id = str(uuid4()), str(uuid4())
    answers = together([partial(client.say, conversation_id, message_id=message_id)] * 20)
    assert verdicts(answers) == {(202, "held"): 1, (202, "duplicate"): 19}
    client.open(conversation_id)
    assert inbound(client.read(conversation_id)) == [message_id]


@pytest.mark.parametrize("_", ROUNDS)
def test_of_different_contents_under_one_id_one_wins(client: Client, _: int) -> None:
    conversation_id, message_id = client.opened(), str(uuid4())
    contents = [f"version {number}, {MARKER}" for number in range(10)]
    answers = together([partial(client.say, conversation_id, it, message_id=message_id) for it in contents])
    assert verdicts(answers) == {(202, "accepted"): 1, (400, "message_conflict"): 9}
    [winner] = [it for it, answer in zip(contents, answers, strict=True) if answer.status == 202]
    assert [message["content"] for message in client.read(conversation_id)["messages"]] == [winner]


@pytest.mark.parametrize("_", ROUNDS)
def test_of_two_conversations_sharing_a_message_id_one_gets_it(client: Client, _: int) -> None:
    ids, message_id = [client.opened(), client.opened()], str(uuid4())
    answers = together([partial(client.say, it, message_id=message_id) for it in ids])
    assert verdicts(answers) == {(202, "accepted"): 1, (400, "message_conflict"): 1}
    for conversation_id, answer in zip(ids, answers, strict=True):
        assert inbound(client.read(conversation_id)) == ([message_id] if answer.status == 202 else [])


@pytest.mark.parametrize("_", ROUNDS)
def test_a_held_and_an_accepted_message_cannot_share_an_id(client: Client, _: int) -> None:
    opened, unknown, message_id = client.opened(), str(uuid4()), str(uuid4())
    answers = together([partial(client.say, it, message_id=message_id) for it in (opened, unknown)])
    assert sorted(answer.status for answer in answers) == [202, 400]
    client.open(unknown)
    assert inbound(client.read(opened)) + inbound(client.read(unknown)) == [message_id]


@pytest.mark.parametrize("_", range(6))
def test_a_close_racing_messages_parts_them_cleanly(client: Client, _: int) -> None:
    conversation_id, ids = client.opened(), [str(uuid4()) for _ in range(20)]
    messages = [partial(client.say, conversation_id, message_id=it) for it in ids]
    close, *answers = together([partial(client.close, conversation_id), *messages])
    assert close.verdict == (200, "closed")
    assert verdicts(answers).keys() <= {(202, "accepted"), (400, "conversation_closed")}
    conversation = client.read(conversation_id)
    assert set(inbound(conversation)) == {it for it, answer in zip(ids, answers, strict=True) if answer.status == 202}
    assert named(conversation) == inbound(conversation)
    assert len(replies(conversation)) <= 1


@pytest.mark.parametrize("_", range(6))
def test_early_messages_racing_their_conversation_all_get_in(client: Client, _: int) -> None:
    conversation_id, ids = str(uuid4()), [str(uuid4()) for _ in range(20)]
    messages = [partial(client.say, conversation_id, message_id=it) for it in ids]
    answers = together([*messages[:10], partial(client.open, conversation_id), *messages[10:]])
    assert answers.pop(10).verdict == (201, "created")
    assert verdicts(answers).keys() <= {(202, "held"), (202, "accepted")}
    client.close(conversation_id)
    conversation = client.read(conversation_id)
    assert set(inbound(conversation)) == set(ids)
    [reply] = replies(conversation)
    assert reply["content"] == reply_to(*inbound(conversation))


def test_concurrent_messages_are_one_group_with_one_reply(client: Client) -> None:
    conversation_id = client.opened()
    answers = together([partial(client.say, conversation_id)] * 50)
    assert verdicts(answers) == {(202, "accepted"): 50}
    conversation = client.read_answered(conversation_id)
    [reply] = replies(conversation)
    assert set(inbound(conversation)) == {answer.body["message_id"] for answer in answers}
    assert reply["content"] == reply_to(*inbound(conversation))


def test_many_conversations_at_once_get_exactly_one_reply_each(client: Client) -> None:
    def chat() -> tuple[str, list[str]]:
        conversation_id = client.opened()
        return conversation_id, [client.accepted(conversation_id) for _ in range(3)]

    chats = together([chat] * 30)
    for conversation_id, sent in chats:
        texts = [reply["content"] for reply in replies(client.read_answered(conversation_id))]
        assert texts == [reply_to(*sent)]


def test_one_close_at_the_end_of_the_window_leaves_exactly_one_reply(client: Client) -> None:
    """The close and the timer want to answer the same groups at the same moment."""
    ids = together([client.opened] * 20)
    sent = together([partial(client.accepted, it) for it in ids])
    time.sleep(4.9)
    closed = together([partial(client.close, it) for it in ids])
    assert verdicts(closed) == {(200, "closed"): 20}
    for conversation_id, message_id in zip(ids, sent, strict=True):
        [reply] = replies(client.read(conversation_id))
        assert reply["content"] == reply_to(message_id)
