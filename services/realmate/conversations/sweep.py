"""Answers the groups whose window is over, expires the messages that waited in vain, and forgets what is too old.

Any number of processes may sweep at once: each takes rows nobody else has locked. Nothing depends on a sweep being on
time but the moment a reply becomes visible.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import structlog

from realmate.conversations import observation, statements
from realmate.conversations.erasing import CONVERSATIONS_PER_PORTION, Run
from realmate.conversations.rules import RuleBooks
from realmate.conversations.unit_of_work import UnitOfWork
from realmate.runtime.database import is_conflict, within
from realmate.runtime.transaction import Statement, Transactions
from realmate.sources.file import Sources
from realmate.sources.model import Source

T = TypeVar("T")

log = structlog.get_logger(__name__)

ROWS_PER_TRANSACTION = 500
TRANSACTION_TIMEOUT_S = 5.0
FORGET_KEYS_AFTER_S = 24 * 3600.0
ROWS_PER_PORTION = 5_000
PAUSE_S = 0.1
"""After a portion of conversations: those who send and read come first."""
FORGET_APPLIED_AFTER_S = 300.0
"""Twice the longest deadline a command can have, and more: no batch is delivered again after that."""


def sweep(db: Transactions, rules: RuleBooks) -> None:
    """Settle all that is due. What a conflict leaves undone, the next round does."""
    _settle(db, rules, UnitOfWork.decide_due)


def sweep_stranded(db: Transactions, rules: RuleBooks) -> None:
    """Settle what the database's clock, set back, would leave waiting until it has caught up."""
    _settle(db, rules, UnitOfWork.decide_stranded)


def _settle(db: Transactions, rules: RuleBooks, decide: Callable[[UnitOfWork, int], int]) -> None:
    try:
        while _settle_once(db, rules, decide) == ROWS_PER_TRANSACTION:
            pass
    except Exception as error:
        if not is_conflict(error):
            raise
        log.warning("sweep met a conflict", reason=repr(error))


def _settle_once(db: Transactions, rules: RuleBooks, decide: Callable[[UnitOfWork, int], int]) -> int:
    with within(time.monotonic() + TRANSACTION_TIMEOUT_S):
        book = rules.book(db)
        with db.begin() as transaction:
            work = UnitOfWork(transaction, book)
            due = decide(work, ROWS_PER_TRANSACTION)
            if due:
                work.save()
                transaction.commit()
    observation.count_replies(work.replies)
    observation.EXPIRED.inc(len(work.expired))
    return due


def tidy(db: Transactions) -> None:
    """Forget applied batches nobody can deliver again, and read the gauges."""
    with within(time.monotonic() + TRANSACTION_TIMEOUT_S), db.begin() as transaction:
        transaction.add(statements.FORGET_APPLIED, FORGET_APPLIED_AFTER_S)
        [(groups, overdue_s, held)] = transaction.fetch(statements.BACKLOG)
        transaction.commit()
    observation.PENDING_GROUPS.set(groups)
    observation.HELD_MESSAGES.set(held)
    observation.OVERDUE_SECONDS.set(max(0.0, float(overdue_s)))


def forget_keys(db: Transactions) -> None:
    """Forget the idempotency keys that are too old."""
    _delete(db, statements.FORGET_KEYS, FORGET_KEYS_AFTER_S)


def forget_rejections(db: Transactions, sources: Sources, retention_s: float | None = None) -> None:
    """Forget what is older, and more, than each source has kept of what was refused."""
    for source_id, name in _in_time(lambda: db.fetch(statements.ALL_SOURCES)):
        source = _of(sources, name, retention_s)
        _delete(db, statements.FORGET_REJECTIONS, source_id, source.refusals_kept_s, source.keep.max_count)


def erase_outdated(db: Transactions, sources: Sources, retention_s: float | None = None) -> None:
    """Erase the closed conversations that were kept long enough, and those that never opened and hold nothing.

    `retention_s` is for the sources that say nothing of their own, or that the file does not name.
    """
    for source_id, name in _in_time(lambda: db.fetch(statements.ALL_SOURCES)):
        source, run = _of(sources, name, retention_s), Run(db, source_id, "retention")
        _delete(db, statements.DATE_UNOPENED, source_id)
        _erase(run, statements.ERASE_UNOPENED, source.refusals_kept_s)
        if source.retention_s is not None:
            _erase(run, statements.ERASE_CLOSED, source.retention_s)
        if any(run.erased):
            log.info("erased what was kept long enough", source=name, **run.erased._asdict())


def _of(sources: Sources, name: str, retention_s: float | None) -> Source:
    """The source with its rules for keeping; one that the file does not name has the usual ones."""
    source = sources.get(name) or Source(name)
    return source if source.retention_s is not None else replace(source, retention_s=retention_s)


def _erase(run: Run, statement: Statement, kept_s: float) -> None:
    while _in_time(lambda: run.portion(statement, kept_s, CONVERSATIONS_PER_PORTION))[0].conversations:
        time.sleep(PAUSE_S)


def _delete(db: Transactions, statement: Statement, *values: object) -> None:
    """In portions, so that nobody waits long for a lock or a disk. The statement has their size last, and counts."""
    while _in_time(lambda: db.fetch(statement, *values, ROWS_PER_PORTION)) == [(ROWS_PER_PORTION,)]:
        pass


def _in_time(work: Callable[[], T]) -> T:
    with within(time.monotonic() + TRANSACTION_TIMEOUT_S):
        return work()
