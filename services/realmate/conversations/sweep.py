"""Answers the groups whose window is over, and expires the messages that waited in vain.

Any number of processes may sweep at once: each takes rows that nobody else has locked. Nothing depends on a sweep being
on time, except the moment at which a reply becomes visible.

The law of this file: no source waits for another one's work. All sources that have something due share one small
transaction. When that fails, each of them is tried alone, and one that fails alone is swept apart from then on, beside
the others, in portions that are halved with each failure and doubled with each success. A conversation that fails alone
is set aside: it is tried again later, and later each time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from realmate.conversations import metrics, statements
from realmate.conversations.portions import FIRST_PAUSE_S, LONGEST_PAUSE_S, Portion
from realmate.conversations.rules import RuleBook, RuleBooks
from realmate.conversations.unit_of_work import UnitOfWork
from realmate.runtime.background import Background
from realmate.runtime.database import DatabaseTimeout, is_outage, within
from realmate.runtime.database_errors import is_timeout
from realmate.runtime.transaction import Transactions

FULL = Portion(conversations=500, messages=5_000, bytes=4 * 1024 * 1024)
"""A tenth of a second's work for Postgres on one core."""
STATEMENT_S = 0.4
"""The time limit of each statement in a transaction that other sources wait for."""
TOGETHER_S = 0.8
"""The time limit of that transaction."""
STATEMENT_APART_S = 2.0
"""The time limit of each statement on a single conversation that nobody else waits for."""
APART_S = 5.0
ROUND_S = 1.0
"""A round ends after so long, even if more is due: whoever stops the process does not wait for the whole backlog."""
APART_AT_ONCE = 2
"""How many sources are swept apart at the same time. Each needs a connection."""

log = structlog.get_logger(__name__)

Decide = Callable[[UnitOfWork], None]


class SweepFailed(Exception):
    """A portion could not be done. The database works: it is the portion that is too large, or wrong."""

    def __init__(self, work: UnitOfWork, error: Exception) -> None:
        self.taken = work.taken
        self.only = work.only_taken
        self.is_silence = isinstance(error, DatabaseTimeout)
        super().__init__(repr(error).partition("\n")[0])


class Sweeper:
    """The sweep of one process, and what it has learned: which sources are swept apart, in portions of which size."""

    def __init__(self, settled: Callable[[], None] = lambda: None) -> None:
        """`settled` is called after each transaction that settled anything."""
        self._settled = settled
        self._apart: dict[int, Portion] = {}  # the one that was tried longest ago is the first
        self._running: set[int] = set()
        self._stranded = FULL

    def sweep(self, db: Transactions, rules: RuleBooks, background: Background | None = None) -> None:
        """Settle all that is due, or as much as a round has time for. Without `background` nothing is left to run."""
        give_up_at = time.monotonic() + ROUND_S
        book = rules.book(db)
        more = True
        while more and time.monotonic() < give_up_at:
            more = self._sweep_together(db, book)
            for source_id, name in self._due_apart(db):
                if background is None:
                    more = self._sweep_apart(db, book, source_id, name) or more
                elif source_id not in self._running and len(self._running) < APART_AT_ONCE:
                    self._running.add(source_id)
                    background.run("sweep", partial(self._run_apart, db, book, source_id, name))

    def sweep_stranded(self, db: Transactions, rules: RuleBooks) -> None:
        """Settle what the database's clock, set back, would leave waiting until it has caught up."""
        book = rules.book(db)
        give_up_at = time.monotonic() + ROUND_S
        while time.monotonic() < give_up_at:
            portion = self._stranded
            try:
                work = self._settle(db, book, partial(UnitOfWork.decide_stranded, share=portion))
                self._stranded = portion.doubled(FULL)
                if not work.leaves_more:
                    return
            except SweepFailed as failed:
                self._stranded = _after_failure(db, portion, failed, name="")

    def _settle(self, db: Transactions, book: RuleBook, decide: Decide, **limits_s: float) -> UnitOfWork:
        work = _settle(db, book, decide, **limits_s)
        if work.taken.conversations:
            self._settled()
        return work

    def _due_apart(self, db: Transactions) -> list[tuple[int, str]]:
        """Return the sources that are swept apart and have something due: the one swept longest ago is the first."""
        due = _due_sources(db) if self._apart else {}
        return [(source_id, due[source_id]) for source_id in self._apart if source_id in due]

    def _sweep_together(self, db: Transactions, book: RuleBook) -> bool:
        """Settle one portion, which all sources share that are not swept apart. Return whether more may be due."""
        try:
            return self._settle(db, book, lambda work: work.decide_all_due(self._apart, FULL)).leaves_more
        except SweepFailed as failed:
            due = {key: name for key, name in _due_sources(db).items() if key not in self._apart}
            if len(due) == 1:
                self._keep_apart(failed, *next(iter(due.items())))
            else:
                self._sweep_each(db, book, due)
            return bool(due)

    def _sweep_each(self, db: Transactions, book: RuleBook, due: Mapping[int, str]) -> None:
        """Find out which of the sources makes the portion of all of them fail."""
        give_up_at = time.monotonic() + ROUND_S
        for source_id, name in due.items():
            try:
                self._settle(db, book, partial(UnitOfWork.decide_due, sources=[source_id], share=FULL))
            except SweepFailed as failed:
                self._keep_apart(failed, source_id, name)
            if time.monotonic() > give_up_at:
                return

    def _keep_apart(self, failed: SweepFailed, source_id: int, name: str) -> None:
        self._apart[source_id] = failed.taken.halved()
        metrics.SWEPT_APART.labels(name).set(1)
        log.warning("source swept apart: its portion failed", source=name, reason=str(failed), **failed.taken._asdict())

    def _run_apart(self, db: Transactions, book: RuleBook, source_id: int, name: str) -> None:
        """Sweep one source in the background. Errors end here."""
        try:
            give_up_at = time.monotonic() + ROUND_S
            while source_id in self._apart and time.monotonic() < give_up_at:
                if not self._sweep_apart(db, book, source_id, name):
                    break
        except Exception as error:
            if not is_outage(error):  # the sweep itself meets the outage, too, and tells of it
                log.exception("a source could not be swept", source=name)
                time.sleep(FIRST_PAUSE_S)
        finally:
            self._running.discard(source_id)

    def _sweep_apart(self, db: Transactions, book: RuleBook, source_id: int, name: str) -> bool:
        """Settle one portion of a source that failed before. Return whether more may be due."""
        portion = self._apart.pop(source_id)
        self._apart[source_id] = portion  # now the last one
        decide = partial(UnitOfWork.decide_due, sources=[source_id], share=portion)
        try:
            statement_s = STATEMENT_APART_S if portion.is_one else STATEMENT_S
            work = self._settle(db, book, decide, statement_s=statement_s, all_s=APART_S)
        except SweepFailed as failed:
            self._apart[source_id] = _after_failure(db, portion, failed, name)
            return True
        if work.taken.conversations:
            self._apart[source_id] = portion.doubled(FULL)
        if self._apart[source_id] == FULL:
            del self._apart[source_id]
            metrics.SWEPT_APART.labels(name).set(0)
            log.info("source swept with the others again", source=name)
        return work.leaves_more


def _due_sources(db: Transactions) -> dict[int, str]:
    with within(time.monotonic() + APART_S):
        return dict(db.fetch(statements.DUE_SOURCES))


def _settle(
    db: Transactions, book: RuleBook, decide: Decide, *, statement_s: float = STATEMENT_S, all_s: float = TOGETHER_S
) -> UnitOfWork:
    """Run one transaction, and commit it if anything was due. Raises SweepFailed, and what an outage raises."""
    work: UnitOfWork | None = None
    try:
        with within(time.monotonic() + all_s), db.begin() as transaction:
            work = UnitOfWork(transaction, book)
            transaction.add(statements.LIMIT_TIME, str(int(statement_s * 1000)))
            decide(work)
            if work.taken.conversations:
                work.save()
                transaction.commit()
    except Exception as error:
        if work is None or (is_outage(error) and not is_timeout(error)):
            raise
        raise SweepFailed(work, error) from error
    metrics.count_replies(work.replies)
    metrics.EXPIRED.inc(len(work.expired))
    return work


def _after_failure(db: Transactions, portion: Portion, failed: SweepFailed, name: str) -> Portion:
    """Return the portion to try next, half of what was processed. What cannot be halved is set aside for later."""
    if failed.only is None and not portion.is_one:
        return Portion(*map(min, portion, failed.taken)).halved()
    if failed.only is None or failed.is_silence:  # nothing can be said against a single conversation
        raise failed.__cause__ or failed
    rows = db.fetch(statements.SET_ASIDE, failed.only.text, failed.only.source_id, FIRST_PAUSE_S, LONGEST_PAUSE_S)
    for failures, pause_s in rows:
        metrics.SET_ASIDE.labels(name).inc()
        log.error(
            "conversation set aside: the sweep fails on it alone",
            source=name,
            conversation_id=failed.only.text,
            reason=str(failed),
            failures=failures,
            tried_again_in_s=round(pause_s),
        )
    return portion
