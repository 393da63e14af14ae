"""Forgets what is too old, erases what was kept long enough, and counts what waits: in small portions."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import structlog

from realmate.conversations import change_statements, erasing_statements, metrics, statements
from realmate.conversations.erasing import CONVERSATIONS_PER_PORTION, ROWS_PER_PORTION, Run
from realmate.conversations.portions import in_portions
from realmate.runtime.database import is_outage, within
from realmate.runtime.database_errors import is_timeout
from realmate.runtime.transaction import Statement, Transactions
from realmate.sources.file import Sources
from realmate.sources.model import Source

T = TypeVar("T")

log = structlog.get_logger(__name__)

TRANSACTION_TIMEOUT_S = 5.0
FORGET_KEYS_AFTER_S = 24 * 3600.0
PAUSE_S = 0.1
"""The pause after a portion of conversations. Senders and readers come first."""
SOURCE_S = 10.0
"""The time that one source gets in one round. The next source need not wait for all that another has to erase."""
BLOCKS_PER_PORTION = 500
COUNTED_GROUPS = 100_000
"""The most waiting groups that are counted."""
FORGET_APPLIED_AFTER_S = 300.0
"""More than twice the longest deadline of a command: no batch is delivered again after that."""


def tidy(db: Transactions) -> None:
    """Forget applied batches that nobody can deliver again, and read the gauges."""
    _delete(db, statements.FORGET_APPLIED, FORGET_APPLIED_AFTER_S)
    [(groups, overdue_s)] = _in_time(lambda: db.fetch(statements.BACKLOG, COUNTED_GROUPS))
    metrics.PENDING_GROUPS.set(groups)
    metrics.OVERDUE_SECONDS.set(max(0.0, float(overdue_s)))


def date_conversations(db: Transactions) -> None:
    """Give the conversations that older versions wrote their place in lists. Most often there is nothing to do."""
    in_portions(
        lambda blocks: _in_time(partial(_date, db, blocks)),
        BLOCKS_PER_PORTION,
        until=time.monotonic() + SOURCE_S,
        pause_s=PAUSE_S,
    )


def _date(db: Transactions, blocks: int) -> bool:
    """Date the next blocks of the table. Return whether there are more."""
    for first, all_blocks in db.fetch(statements.UNDATED):
        end = first + blocks
        db.fetch(statements.DATE_ACTIVE, first, end)
        is_last = end >= all_blocks
        if db.fetch(statements.DATED, first, None if is_last else end) and is_last:
            log.info("conversations can be listed")
        return not is_last
    return False


def forget_keys(db: Transactions) -> None:
    """Forget the idempotency keys that are too old."""
    _delete(db, statements.FORGET_KEYS, FORGET_KEYS_AFTER_S)


def forget_changes(db: Transactions, keep_h: float) -> None:
    """Forget the changes that no reader may ask for any more."""
    _delete(db, change_statements.FORGET_CHANGES, keep_h * 3600)


def forget_rejections(db: Transactions, sources: Sources, retention_s: float | None = None) -> None:
    """Forget what is older, and more, than each source has kept of what was rejected."""

    def forget(source_id: int, name: str) -> None:
        source = _of(sources, name, retention_s)
        _delete(db, statements.FORGET_REJECTIONS, source_id, source.rejections_kept_s, source.keep.max_count)

    _for_each_source(db, forget)


def erase_outdated(db: Transactions, sources: Sources, retention_s: float | None = None) -> None:
    """Erase the closed conversations that were kept long enough, and those that never opened and hold nothing.

    `retention_s` is for the sources that say nothing of their own, or that the file does not name.
    """

    def erase(source_id: int, name: str) -> None:
        source, run = _of(sources, name, retention_s), Run(db, source_id, "retention")
        try:
            _delete(db, erasing_statements.DATE_SETTLED, source_id)
            _erase(run, erasing_statements.ERASE_UNOPENED, source.rejections_kept_s)
            if source.retention_s is not None:
                _erase(run, erasing_statements.ERASE_CLOSED, source.retention_s)
        finally:
            if any(run.erased):
                log.info("erased what was kept long enough", source=name, **run.erased._asdict())

    _for_each_source(db, erase)


def _for_each_source(db: Transactions, work: Callable[[int, str], None]) -> None:
    """Do it for all of them, even if it fails for one; then raise what the last one raised that failed."""
    failed: Exception | None = None
    for source_id, name in _in_time(lambda: db.fetch(statements.ALL_SOURCES)):
        try:
            work(source_id, name)
        except Exception as error:
            if is_outage(error) and not is_timeout(error):
                raise
            log.warning("upkeep of a source failed", source=name, reason=str(error).partition("\n")[0])
            failed = error
    if failed is not None:
        raise failed


def _of(sources: Sources, name: str, retention_s: float | None) -> Source:
    """The source with its rules for keeping; one that the file does not name has the usual ones."""
    source = sources.get(name) or Source(name)
    return source if source.retention_s is not None else replace(source, retention_s=retention_s)


def _erase(run: Run, statement: Statement, kept_s: float) -> None:
    def portion(rows: int) -> bool:
        conversations = min(rows, CONVERSATIONS_PER_PORTION)
        erased, rest = _in_time(lambda: run.portion(statement, kept_s, conversations, rows))
        return rest is not None or erased.conversations > 0

    in_portions(portion, ROWS_PER_PORTION, until=time.monotonic() + SOURCE_S, pause_s=PAUSE_S)


def _delete(db: Transactions, statement: Statement, *values: object) -> None:
    """Delete in portions, so that nobody waits long for a lock or a disk.

    The statement's last parameter is the portion's size; it returns a count.
    """
    in_portions(
        lambda rows: _in_time(lambda: db.fetch(statement, *values, rows)) == [(rows,)],
        ROWS_PER_PORTION,
        until=time.monotonic() + SOURCE_S,
    )


def _in_time(work: Callable[[], T]) -> T:
    with within(time.monotonic() + TRANSACTION_TIMEOUT_S):
        return work()
