"""Applies deliveries of commands: one transaction for all of them, tried again while their callers still wait.

Applying a delivery twice is harmless: its verdicts are stored under its id in the very transaction that brings them
about. Whoever gets it again (its first consumer died after the commit, or is merely slow) finds them there.

A command that makes the transaction fail is found and set apart (`suspects`); all others are applied without it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

import msgspec
import structlog

from realmate.conversations import metrics, statements
from realmate.conversations.cases import Case
from realmate.conversations.holding import Holding
from realmate.conversations.idempotency import Markers
from realmate.conversations.rejections import Rejection
from realmate.conversations.rules import RuleBook, RuleBooks
from realmate.conversations.source_ids import SourceIds
from realmate.conversations.suspects import find_guilty, may_be_an_events, spoiled
from realmate.conversations.unit_of_work import UnitOfWork
from realmate.domain.events import Event, Verdict
from realmate.runtime.database import DatabaseTimeout, is_conflict, is_outage, patiently
from realmate.runtime.transaction import StatementFailed, Transaction, Transactions
from realmate.transport.interface import Delivery
from realmate.wire.commands import (
    Received,
    RejectedCommand,
    UnknownVersion,
    UnreadCommand,
    decode_commands,
    encode_verdicts,
    understood_verdicts,
)

log = structlog.get_logger(__name__)

NOTHING_DECIDED = encode_verdicts(None)
SEARCH_SHARE = 0.5
"""The share of the remaining time that the search for guilty commands may take. The others wait for it."""
_LOGGED_REQUEST_IDS = 20
_UNNAMED = "its source is not in the file of sources"

Commands = Mapping[str, Sequence[Received]]
"""The commands, by the id of their delivery."""


class Decided(NamedTuple):
    """What a transaction has decided and has not committed yet."""

    work: UnitOfWork
    cases: Sequence[Case]
    markers: Sequence[Mapping[str, object]]
    rejected: Sequence[tuple[Case, Rejection]]

    def save(self, applied: Mapping[str, bytes] | None) -> None:
        """Write everything; `applied` are the verdicts of each batch by its id. The commit may yet raise Overtaken."""
        self.work.save(applied, self.markers, [rejection for _, rejection in self.rejected])


class BatchApplier:
    """Applies the deliveries that one worker was given."""

    def __init__(
        self, db: Transactions, rules: RuleBooks, source_ids: SourceIds, holding: Holding | None = None
    ) -> None:
        self._db = db
        self._rules = rules
        self._holding = holding or Holding()
        self._source_ids = source_ids

    def apply(self, deliveries: Sequence[Delivery]) -> list[bytes]:
        """Return one response for each delivery: its verdicts, after the commit, or NOTHING_DECIDED."""
        commands = {
            delivery.id: self._of_named_sources(decoded)
            for delivery in deliveries
            if (decoded := _decode(delivery)) is not None
        }
        decodable = [delivery for delivery in deliveries if delivery.id in commands]
        replies = self._apply_in_time(decodable, commands) if decodable else {}
        return [replies.get(delivery.id, NOTHING_DECIDED) for delivery in deliveries]

    def _of_named_sources(self, commands: Sequence[Received]) -> Sequence[Received]:
        """The commands, without those of sources that the file does not name: no intake of ours sends them for long."""
        unnamed = {source for source in {each.origin.source for each in commands} if not self._rules.names(source)}
        if not unnamed:
            return commands
        log.warning("commands of sources that SOURCES_FILE does not name", sources=len(unnamed))
        return [UnreadCommand(_UNNAMED) if each.origin.source in unnamed else each for each in commands]

    def _apply_in_time(
        self, deliveries: Sequence[Delivery], commands: Commands, *, look_first: bool = False
    ) -> dict[str, bytes]:
        """Try until the first of the deadlines; after an outage, those with more time are tried on without that one."""
        deadline = min(delivery.deadline for delivery in deliveries)
        look_first = look_first or any(delivery.redelivered for delivery in deliveries)
        try:
            with metrics.TRANSACTION_SECONDS.time():
                return patiently(
                    lambda attempt: self._apply_once(
                        deliveries, commands, deadline, look_first=look_first or attempt > 0
                    ),
                    deadline,
                )
        except Exception as error:  # noqa: BLE001 (whatever it is: log everything, promise nothing)
            if may_be_an_events(error):
                return self._apply_without_guilty(deliveries, commands, deadline)
            may_pass = is_outage(error) or is_conflict(error)
            rest = [delivery for delivery in deliveries if may_pass and delivery.deadline > deadline]
            _log_failure(
                error, [commands[delivery.id] for delivery in deliveries if delivery not in rest], may_pass=may_pass
            )
        return self._apply_in_time(rest, commands, look_first=True) if rest else {}

    def _apply_without_guilty(
        self, deliveries: Sequence[Delivery], commands: Commands, deadline: float
    ) -> dict[str, bytes]:
        """Find the commands that fail by themselves, and apply all deliveries with a verdict in their stead.

        If nothing fails by itself, each delivery is applied alone.
        """
        try:
            cleared = patiently(lambda _: self._without_guilty(deliveries, commands, deadline), deadline)
            return patiently(lambda _: self._apply_once(deliveries, cleared, deadline, look_first=True), deadline)
        except Exception as error:  # noqa: BLE001 (as above)
            if len(deliveries) == 1:
                may_pass = is_outage(error) or is_conflict(error)
                _log_failure(error, [commands[deliveries[0].id]], may_pass=may_pass)
                return {}
        replies: dict[str, bytes] = {}
        for delivery in deliveries:
            replies |= self._apply_in_time([delivery], commands, look_first=True)
        return replies

    def _without_guilty(self, deliveries: Sequence[Delivery], commands: Commands, deadline: float) -> Commands:
        flat = [(delivery.id, each) for delivery in deliveries for each in commands[delivery.id]]
        batch = [command for _, command in flat]
        now = time.monotonic()
        for index, error in find_guilty(
            len(batch), partial(self._try_out, batch), until=now + SEARCH_SHARE * (deadline - now)
        ):
            _log_guilty(batch[index], error)
            batch[index] = spoiled(batch[index], error)
        cleared: dict[str, list[Received]] = {delivery.id: [] for delivery in deliveries}
        for (delivery_id, _), command in zip(flat, batch, strict=True):
            cleared[delivery_id].append(command)
        return cleared

    def _try_out(self, batch: Sequence[Received], indices: Sequence[int]) -> None:
        """Do all the work for some of the commands, and take it back."""
        chosen = [batch[index] for index in indices]
        ids, rules = self._known(chosen)
        with self._db.begin() as transaction:
            decided = _decide(transaction, chosen, ids, rules, Holding(), look_first=True)
            decided.save(None)
            transaction.try_out()

    def _apply_once(
        self, deliveries: Sequence[Delivery], commands: Commands, deadline: float, *, look_first: bool
    ) -> dict[str, bytes]:
        ids, rules = self._known([command for delivery in deliveries for command in commands[delivery.id]])
        with self._db.begin() as transaction:
            replies = _already_applied(transaction, deliveries) if look_first else {}
            fresh = [delivery for delivery in deliveries if delivery.id not in replies]
            if not fresh:
                return replies
            batch = [command for delivery in fresh for command in commands[delivery.id]]
            decided = _decide(transaction, batch, ids, rules, self._holding, look_first=look_first)
            applied = _encode_each(fresh, commands, [case.verdict for case in decided.cases])
            decided.save(applied)
            if time.monotonic() >= deadline:
                raise DatabaseTimeout("decided too late to be promised")
            transaction.commit()
        _count(decided)
        return replies | applied

    def _known(self, batch: Sequence[Received]) -> tuple[Mapping[str, int], RuleBook]:
        """The numbers of the commands' sources, and the rules of the moment."""
        return self._source_ids.of(self._db, {each.origin.source for each in batch}), self._rules.book(self._db)


def _decide(  # noqa: PLR0913 (what a decision needs)
    transaction: Transaction,
    batch: Sequence[Received],
    source_ids: Mapping[str, int],
    rules: RuleBook,
    holding: Holding,
    *,
    look_first: bool,
) -> Decided:
    cases = [Case.of(command, source_ids) for command in batch]
    markers = Markers(transaction, cases)
    if look_first:
        markers.load()
    events: list[tuple[Case, Event]] = []
    for case in markers.undecided():
        if case.event is not None:
            events.append((case, case.event))
        elif isinstance(case.command, RejectedCommand | UnreadCommand):
            case.decided = case.command.verdict
    work = UnitOfWork(transaction, rules, holding)
    verdicts = work.decide_all([event for _, event in events], look_first=look_first)
    for (case, _), verdict in zip(events, verdicts, strict=True):
        case.decided = verdict
    markers.complete()
    rejected = [(case, rejection) for case in cases if (rejection := case.rejection) is not None]
    return Decided(work, cases, markers.rows(), rejected)


def _count(decided: Decided) -> None:
    events = [(case.event, case.decided) for case in decided.cases if case.event and case.decided]
    metrics.count_events(events)
    metrics.count_rejections((case.command.origin.source, rejection.code) for case, rejection in decided.rejected)
    if decided.work.replies:
        metrics.count_replies(decided.work.replies)
    if decided.work.expired:
        metrics.EXPIRED.inc(len(decided.work.expired))
    metrics.BATCH_EVENTS.observe(len(events))


def _decode(delivery: Delivery) -> list[Received] | None:
    try:
        commands = decode_commands(delivery.payload)
    except (UnknownVersion, msgspec.DecodeError) as error:
        log.error("batch rejected", batch=delivery.id, reason=str(error))  # noqa: TRY400 (not a fault of ours)
        return None
    for reason in {each.reason for each in commands if isinstance(each, UnreadCommand)}:
        log.error("command cannot be read", batch=delivery.id, reason=reason)
    return commands


def _encode_each(deliveries: Sequence[Delivery], commands: Commands, verdicts: Sequence[Verdict]) -> dict[str, bytes]:
    rest = iter(verdicts)
    return {
        delivery.id: encode_verdicts(
            list(islice(rest, len(commands[delivery.id]))), understood_verdicts(delivery.payload)
        )
        for delivery in deliveries
    }


def _already_applied(transaction: Transaction, deliveries: Sequence[Delivery]) -> dict[str, bytes]:
    ids = [delivery.id for delivery in deliveries]
    return {batch_id: bytes(verdicts) for batch_id, verdicts in transaction.fetch(statements.APPLIED, ids)}


def _log_failure(error: Exception, batches: Sequence[Sequence[Received]], *, may_pass: bool) -> None:
    request_ids = [command.request_id for batch in batches for command in batch]
    facts = {"events": len(request_ids), "request_ids": request_ids[:_LOGGED_REQUEST_IDS]}
    if may_pass:
        log.warning("batch given up: no commit in time", reason=str(error).partition("\n")[0], **facts)
    else:
        log.error("batch failed", exc_info=error, **facts)


def _log_guilty(command: Received, error: Exception | None) -> None:
    """Log one line. It has a traceback only where the failure may be our own fault."""
    facts = {"request_id": command.request_id, "source": command.origin.source}
    if error is None:
        log.error("event set apart: there was no time to try it", **facts)
    elif isinstance(error, StatementFailed):
        log.error("event set apart: it cannot be stored", reason=str(error), **facts)
    else:
        log.error("event set apart: it cannot be processed", exc_info=error, **facts)
