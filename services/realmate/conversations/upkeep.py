"""Forgets what is too old, erases what was kept long enough, and counts what waits: in small portions."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import structlog

from realmate.conversations import observation, statements
from realmate.conversations.erasing import CONVERSATIONS_PER_PORTION, Run
from realmate.runtime.database import within
from realmate.runtime.transaction import Statement, Transactions
from realmate.sources.file import Sources
from realmate.sources.model import Source

T = TypeVar("T")

log = structlog.get_logger(__name__)

TRANSACTION_TIMEOUT_S = 5.0
FORGET_KEYS_AFTER_S = 24 * 3600.0
ROWS_PER_PORTION = 5_000
PAUSE_S = 0.1
"""After a portion of conversations: those who send and read come first."""
COUNTED_GROUPS = 100_000
"""So many waiting groups are counted, at most."""
FORGET_APPLIED_AFTER_S = 300.0
"""Twice the longest deadline a command can have, and more: no batch is delivered again after that."""


def tidy(db: Transactions) -> None:
    """Forget applied batches nobody can deliver again, and read the gauges."""
    with within(time.monotonic() + TRANSACTION_TIMEOUT_S), db.begin() as transaction:
        transaction.add(statements.FORGET_APPLIED, FORGET_APPLIED_AFTER_S)
        [(groups, overdue_s)] = transaction.fetch(statements.BACKLOG, COUNTED_GROUPS)
        transaction.commit()
    observation.PENDING_GROUPS.set(groups)
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
