"""Groups and their replies.

Waits are real: pauses inside a group are 3 s at most, between groups 7 s at least. When a reply was made is read off
the server's own clock, as the seconds between `created_at` and the reply's `timestamp`: no two clocks are compared.
"""

from __future__ import annotations

import time

from client import (
    WINDOW_S,
    Client,
    Conversation,
    inbound,
    named,
    read_time,
    replies,
    reply_to,
)

GROUP_GAP_S = 7.0


def reply_ages_s(conversation: Conversation) -> list[float]:
    """How old the conversation was when each of its replies was made."""
    return [read_time(it["timestamp"]) - read_time(conversation["created_at"]) for it in replies(conversation)]


def test_one_message_alone_gets_one_reply_and_not_before_the_window_closes(client: Client) -> None:
    conversation_id = client.opened()
    sent_at = time.monotonic()
    message_id = client.accepted(conversation_id)
    while time.monotonic() < sent_at + WINDOW_S - 0.5:
        assert not replies(client.read(conversation_id)) or time.monotonic() > sent_at + WINDOW_S
        time.sleep(0.2)
    [reply] = replies(client.read_answered(conversation_id))
    assert reply["content"] == f"Mensagens recebidas:\n{message_id}"
    time.sleep(GROUP_GAP_S)
    assert replies(client.read(conversation_id)) == [reply]


def test_messages_typed_in_a_burst_get_one_reply(client: Client) -> None:
    conversation_id = client.opened()
    first = client.accepted(conversation_id, "Oi")
    time.sleep(2)
    second = client.accepted(conversation_id, "Tudo bem?")
    time.sleep(3)
    third = client.accepted(conversation_id, "Quero alugar imóvel.")
    conversation = client.read_answered(conversation_id)
    [reply] = replies(conversation)
    assert reply["content"] == f"Mensagens recebidas:\n{first}\n{second}\n{third}"
    assert reply_ages_s(conversation)[0] >= 5 + WINDOW_S


def test_a_group_may_last_longer_than_its_window(client: Client) -> None:
    conversation_id = client.opened()
    sent = [client.accepted(conversation_id)]
    for _ in range(4):
        time.sleep(2.5)
        sent.append(client.accepted(conversation_id))
    [reply] = replies(client.read_answered(conversation_id))
    assert reply["content"] == reply_to(*sent)


def test_a_message_after_the_window_starts_a_new_group(client: Client) -> None:
    conversation_id = client.opened()
    first = client.accepted(conversation_id)
    time.sleep(GROUP_GAP_S)
    second = client.accepted(conversation_id)
    texts = [reply["content"] for reply in replies(client.read_answered(conversation_id))]
    assert texts == [reply_to(first), reply_to(second)]


def test_the_lines_are_in_the_order_of_the_timestamps_and_arrival_breaks_ties(client: Client) -> None:
    conversation_id = client.opened()
    late = client.accepted(conversation_id, timestamp="2025-06-04T14:20:05Z")
    tied = [client.accepted(conversation_id, timestamp="2025-06-04T14:20:03Z") for _ in range(6)]
    early = client.accepted(conversation_id, timestamp="2025-06-04T16:20:01+02:00")
    [reply] = replies(client.read_answered(conversation_id))
    assert reply["content"] == reply_to(early, *tied, late)


def test_groups_go_by_arrival_whatever_the_timestamps_say(client: Client) -> None:
    conversation_id = client.opened()
    this_year = client.accepted(conversation_id, timestamp="2025-06-04T14:20:05Z")
    future = client.accepted(conversation_id, timestamp="2099-01-01T00:00:00Z")
    past = client.accepted(conversation_id, timestamp="1999-01-01T00:00:00Z")
    [reply] = replies(client.read_answered(conversation_id))
    assert reply["content"] == reply_to(past, this_year, future)


def test_the_timestamp_of_a_reply_is_the_moment_it_was_made(client: Client) -> None:
    started_at = time.monotonic()
    conversation_id = client.opened()
    client.accepted(conversation_id)
    conversation = client.read_answered(conversation_id)
    elapsed_s = time.monotonic() - started_at
    [age_s] = reply_ages_s(conversation)
    assert WINDOW_S <= age_s <= elapsed_s


def test_duplicates_neither_extend_a_group_nor_repeat_in_its_reply(client: Client) -> None:
    conversation_id = client.opened()
    message_id = client.accepted(conversation_id)
    for _ in range(4):
        time.sleep(1)
        assert client.say(conversation_id, message_id=message_id).verdict == (202, "duplicate")
    conversation = client.read_answered(conversation_id)
    [age_s] = reply_ages_s(conversation)
    assert named(conversation) == [message_id]
    assert age_s < 4 + WINDOW_S - 1.5  # 5 for the message; the last duplicate would make it 9


def test_a_duplicate_of_an_answered_message_is_not_answered_again(client: Client) -> None:
    conversation_id = client.opened()
    message_id = client.accepted(conversation_id)
    answered = client.read_answered(conversation_id)
    assert client.say(conversation_id, message_id=message_id).verdict == (202, "duplicate")
    time.sleep(GROUP_GAP_S)
    assert client.read(conversation_id) == answered


def test_closing_answers_what_is_pending_at_once_and_nothing_comes_after(client: Client) -> None:
    conversation_id = client.opened()
    sent = [client.accepted(conversation_id), client.accepted(conversation_id)]
    assert client.close(conversation_id).verdict == (200, "closed")
    closed = client.read(conversation_id)
    assert closed["status"] == "CLOSED"
    assert inbound(closed) == sent
    assert [reply["content"] for reply in replies(closed)] == [reply_to(*sent)]
    time.sleep(GROUP_GAP_S)
    assert client.read(conversation_id) == closed


def test_closing_with_nothing_pending_adds_no_reply(client: Client) -> None:
    empty, answered = client.opened(), client.opened()
    client.accepted(answered)
    before = client.read_answered(answered)
    for conversation_id in (empty, answered):
        assert client.close(conversation_id).verdict == (200, "closed")
    assert client.read(empty)["messages"] == []
    assert client.read(answered)["messages"] == before["messages"]


def test_closing_answers_only_the_group_that_is_pending(client: Client) -> None:
    conversation_id = client.opened()
    first = client.accepted(conversation_id)
    client.read_answered(conversation_id)
    second = client.accepted(conversation_id)
    client.close(conversation_id)
    texts = [reply["content"] for reply in replies(client.read(conversation_id))]
    assert texts == [reply_to(first), reply_to(second)]


def test_a_closed_conversation_never_changes_again(client: Client) -> None:
    conversation_id = client.opened()
    message_id = client.accepted(conversation_id)
    client.close(conversation_id)
    closed = client.read(conversation_id)
    assert client.say(conversation_id).verdict == (400, "conversation_closed")
    assert client.say(conversation_id, message_id=message_id).verdict == (202, "duplicate")
    assert client.open(conversation_id).verdict == (400, "conversation_exists")
    assert client.close(conversation_id).verdict == (400, "conversation_already_closed")
    assert client.read(conversation_id) == closed


def test_conversations_are_grouped_each_for_itself(client: Client) -> None:
    one, other = client.opened(), client.opened()
    said = {one: client.accepted(one), other: client.accepted(other)}
    for conversation_id, message_id in said.items():
        [reply] = replies(client.read_answered(conversation_id))
        assert reply["content"] == reply_to(message_id)
