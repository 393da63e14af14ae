"""How much one transaction takes on, and how that shrinks when it fails."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from realmate.conversations.portions import Portion, cut, in_portions, plan
from realmate.domain.model import Conversation, ConversationId, Group, HeldMessage, MessageId, Status
from realmate.runtime.database_errors import DatabaseTimeout, DatabaseUnavailable, StatementFailed

NOW = datetime(2026, 11, 26, tzinfo=UTC)
SHARE = Portion(conversations=10, messages=100, bytes=1_000)


def pending(text: str, source_id: int, held: int) -> Conversation:
    return Conversation(ConversationId(text, source_id), Status.PENDING, held_messages=held)


def grouped(text: str, source_id: int, size: int) -> Conversation:
    return Conversation(ConversationId(text, source_id), Status.OPEN, group=Group(1, size, NOW, NOW))


def messages(source_id: int, *sizes: int) -> list[HeldMessage]:
    return [HeldMessage(MessageId(str(seq), source_id), seq, NOW, size) for seq, size in enumerate(sizes)]


def test_each_source_has_its_own_share_of_messages() -> None:
    due = [pending("a", 1, 80), pending("b", 1, 80), pending("c", 2, 5), pending("d", 1, 1), grouped("e", 2, 3)]
    chosen = {key.text: most for key, most in plan(due, SHARE).items()}
    assert chosen == {"a": 80, "b": 20, "c": 5, "e": 3}


def test_a_group_is_taken_as_a_whole_and_first_of_all_if_it_is_larger_than_a_share() -> None:
    chosen = {key.text: most for key, most in plan([grouped("a", 1, 500), grouped("b", 1, 1)], SHARE).items()}
    assert chosen == {"a": 500}
    chosen = {key.text: most for key, most in plan([grouped("b", 1, 1), grouped("a", 1, 500)], SHARE).items()}
    assert chosen == {"b": 1}


def test_what_is_not_counted_may_be_as_much_as_a_share() -> None:
    assert [*plan([pending("a", 1, 0), pending("b", 1, 7)], SHARE).values()] == [100]


def test_bytes_are_cut_by_source_and_one_message_is_always_taken() -> None:
    a, b, c = ConversationId("a", 1), ConversationId("b", 1), ConversationId("c", 2)
    held = {a: messages(1, 900, 900, 900), b: messages(1, 1), c: messages(2, 5_000, 1)}
    taken = cut(held, {a: 3, b: 1, c: 1}, SHARE)
    assert {key.text: (len(part), more) for key, (part, more) in taken.items()} == {"a": (2, True), "c": (1, True)}


def test_a_portion_shrinks_down_to_one_and_grows_again() -> None:
    portion = SHARE
    for _ in range(20):
        portion = portion.halved()
    assert portion == Portion(1, 1, 1)
    assert portion.is_one
    for _ in range(20):
        portion = portion.doubled(SHARE)
    assert portion == SHARE
    assert SHARE.shared_by(1_000) == Portion(1, 1, 1)


@pytest.mark.parametrize("timeout", [DatabaseTimeout("late"), DatabaseUnavailable("57014", "canceling statement")])
def test_work_is_halved_after_a_timeout_and_doubled_after_a_success(timeout: Exception) -> None:
    left, tried = 100, []

    def work(rows: int) -> bool:
        nonlocal left
        tried.append(rows)
        if rows > 20:
            raise timeout
        left -= rows
        return left > 0

    in_portions(work, 64)
    assert tried[:4] == [64, 32, 16, 32]
    assert left <= 0


@pytest.mark.parametrize("error", [DatabaseUnavailable("57P01", "shutdown"), StatementFailed("XX001", "damaged")])
def test_what_is_no_timeout_is_raised_at_once(error: Exception) -> None:
    tried = []

    def work(rows: int) -> bool:
        tried.append(rows)
        raise error

    with pytest.raises(type(error)):
        in_portions(work, 64)
    assert tried == [64]


def test_a_single_row_that_takes_too_long_is_raised() -> None:
    def work(rows: int) -> bool:
        raise DatabaseTimeout(str(rows))

    with pytest.raises(DatabaseTimeout, match=r"^1$"):
        in_portions(work, 64)
