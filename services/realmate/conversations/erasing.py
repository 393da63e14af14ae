"""Erases conversations with everything that is kept about them; docs/personal-data.md lists the places.

In small transactions: neither senders nor readers wait for it. What a run erased is in its history, written with each
portion.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from realmate.conversations import statements
from realmate.conversations.spelling import digits_of
from realmate.runtime.transaction import Statement, Transaction, Transactions

CONVERSATIONS_PER_PORTION = 100
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
        """Erase what the statement chooses; what that was, and the greatest conversation's id among it."""
        with self.db.begin() as transaction:
            [(*counts, last)] = transaction.fetch(statement, self.source_id, *values)
            erased = Erased(*counts)
            if any(erased):
                self._note(transaction, erased)
            transaction.commit()
        self.erased += erased
        return erased, last

    def _note(self, transaction: Transaction, erased: Erased) -> None:
        if self.number is None:
            [(self.number,)] = transaction.fetch(statements.BEGIN_ERASURE, self.source_id, self.reason)
        transaction.add(statements.GO_ON_WITH_ERASURE, self.number, *erased)


def erase_conversation(db: Transactions, source_id: int, conversation_id: str) -> Erased:
    """Erase one conversation, whatever its status, and what was refused about it even where it never was."""
    run = Run(db, source_id, "conversation")
    run.portion(statements.ERASE_CONVERSATION, conversation_id)
    run.portion(statements.ERASE_REJECTIONS_ABOUT, conversation_id)
    run.portion(statements.ERASE_KEYS_ABOUT, conversation_id)
    _erase_what_names(run, digits_of(conversation_id))
    return run.erased


def _erase_what_names(run: Run, digits: str) -> None:
    """Look through the text of the source's rejections and of its keys for what nobody could read as an event."""
    bounds = REJECTIONS_PER_PORTION, SEARCHED_BYTES_PER_PORTION
    last: str | None = "0"
    while last is not None:
        _, last = run.portion(statements.ERASE_REJECTIONS_NAMING, digits, last, *bounds)
    last = ""
    while last is not None:
        _, last = run.portion(statements.ERASE_KEYS_NAMING, digits, last, KEYS_PER_PORTION)


def erase_source(db: Transactions, source_id: int) -> Iterator[Erased]:
    """Erase all that a source ever sent; after each portion, what it was."""
    run = Run(db, source_id, "source")
    last: str | None = FIRST_ID
    while last is not None:
        erased, last = run.portion(statements.ERASE_CONVERSATIONS_AFTER, last, CONVERSATIONS_PER_PORTION)
        yield erased
    while any(erased := run.portion(statements.ERASE_REJECTIONS, REJECTIONS_PER_PORTION)[0]):
        yield erased
    while db.fetch(statements.ERASE_KEYS, source_id, KEYS_PER_PORTION) == [(KEYS_PER_PORTION,)]:
        pass
