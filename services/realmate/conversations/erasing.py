"""Erases conversations with everything that is kept about them; docs/personal-data.md lists the places.

In small transactions: neither senders nor readers wait for it. What a run erased is in its history, written with each
portion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from realmate.conversations import erasing_statements
from realmate.conversations.portions import in_portions
from realmate.conversations.spelling import digits_of
from realmate.runtime.database_errors import is_timeout
from realmate.runtime.transaction import Statement, Transaction, Transactions

CONVERSATIONS_PER_PORTION = 100
ROWS_PER_PORTION = 5_000
"""How many rows of each kind one portion erases. A conversation with more rows takes several portions."""
REJECTIONS_PER_PORTION = 5_000
KEYS_PER_PORTION = 5_000
SEARCHED_BYTES_PER_PORTION = 16 * 1024 * 1024
FIRST_ID = "00000000-0000-0000-0000-000000000000"


class Erased(NamedTuple):
    conversations: int = 0
    messages: int = 0
    rejections: int = 0

    def __add__(self, other: tuple[int, ...]) -> Erased:  # type: ignore[override]
        return Erased(*(mine + its for mine, its in zip(self, other, strict=True)))


@dataclass
class Run:
    """One line of the history. It is written with the first portion that erases anything."""

    db: Transactions
    source_id: int
    reason: str
    number: int | None = None
    erased: Erased = field(default_factory=Erased)

    def portion(self, statement: Statement, *values: object) -> tuple[Erased, str | None]:
        """Erase what the statement chooses; what that was, and how to go on: None where nothing is left of it."""
        with self.db.begin() as transaction:
            if lock := erasing_statements.LOCKS.get(statement.name):
                transaction.fetch(lock, self.source_id, *values[: len(lock.types) - 1])
            [(*counts, last)] = transaction.fetch(statement, self.source_id, *values)
            erased = Erased(*counts)
            if any(erased):
                self._note(transaction, erased)
            transaction.commit()
        self.erased += erased
        return erased, last

    def _note(self, transaction: Transaction, erased: Erased) -> None:
        if self.number is None:
            [(self.number,)] = transaction.fetch(erasing_statements.BEGIN_ERASURE, self.source_id, self.reason)
        transaction.add(erasing_statements.GO_ON_WITH_ERASURE, self.number, *erased)


def erase_conversation(db: Transactions, source_id: int, conversation_id: str) -> Erased:
    """Erase one conversation, whatever its status, and what was rejected about it even where it never was."""
    run = Run(db, source_id, "conversation")
    for statement in (
        erasing_statements.ERASE_CONVERSATION,
        erasing_statements.ERASE_REJECTIONS_ABOUT,
        erasing_statements.ERASE_KEYS_ABOUT,
    ):
        in_portions(partial(_goes_on, run, statement, conversation_id), ROWS_PER_PORTION)
    _erase_what_names(run, digits_of(conversation_id))
    return run.erased


def _goes_on(run: Run, statement: Statement, *values: object) -> bool:
    """Erase a portion; whether there is more. The statement has the number of rows as its last value."""
    return run.portion(statement, *values)[1] is not None


def _erase_what_names(run: Run, digits: str) -> None:
    """Look through the text of the source's rejections and of its keys for what nobody could read as an event."""
    bounds = REJECTIONS_PER_PORTION, SEARCHED_BYTES_PER_PORTION
    last: str | None = "0"
    while last is not None:
        _, last = run.portion(erasing_statements.ERASE_REJECTIONS_NAMING, digits, last, *bounds)
    last = ""
    while last is not None:
        _, last = run.portion(erasing_statements.ERASE_KEYS_NAMING, digits, last, KEYS_PER_PORTION)


def erase_source(db: Transactions, source_id: int) -> Iterator[Erased]:
    """Erase all that a source ever sent; after each portion, what it was."""
    run = Run(db, source_id, "source")
    cursor: str | None = FIRST_ID
    rows = ROWS_PER_PORTION
    while cursor is not None:
        try:
            erased, cursor = run.portion(
                erasing_statements.ERASE_CONVERSATIONS_AFTER, cursor, min(rows, CONVERSATIONS_PER_PORTION), rows
            )
            rows = min(2 * rows, ROWS_PER_PORTION)
        except Exception as error:
            if not is_timeout(error) or rows == 1:
                raise
            rows //= 2
            continue
        yield erased
    about_conversations = run.erased.rejections
    in_portions(partial(_goes_on, run, erasing_statements.ERASE_REJECTIONS), REJECTIONS_PER_PORTION)
    in_portions(lambda rows: db.fetch(erasing_statements.ERASE_KEYS, source_id, rows) == [(rows,)], KEYS_PER_PORTION)
    yield Erased(rejections=run.erased.rejections - about_conversations)
