"""Applies deliveries of commands: one transaction for all of them, tried again while their callers still wait.

Applying a delivery twice is harmless: its verdicts are stored under its id in the very transaction that brings them
about. Whoever gets it again (its first consumer died after the commit, or is merely slow) finds them there.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice

import msgspec
import structlog

from realmate.conversations import observation, statements
from realmate.conversations.idempotency import Markers
from realmate.conversations.rejections import rejections
from realmate.conversations.rules import RuleBooks
from realmate.conversations.source_ids import SourceIds
from realmate.conversations.unit_of_work import UnitOfWork
from realmate.domain.events import Verdict
from realmate.runtime.database import DatabaseTimeout, is_conflict, is_outage, patiently
from realmate.runtime.transaction import Transaction, Transactions
from realmate.runtime.transport.interface import Delivery
from realmate.wire.commands import Command, RefusedCommand, UnknownVersion, decode_commands, encode_verdicts

log = structlog.get_logger(__name__)

NOTHING_DECIDED = encode_verdicts(None)
_LOGGED_REQUEST_IDS = 20


class Batches:
    """Applies the deliveries that one worker was given."""

    def __init__(self, db: Transactions, rules: RuleBooks, source_ids: SourceIds) -> None:
        self._db = db
        self._rules = rules
        self._source_ids = source_ids

    def apply(self, deliveries: Sequence[Delivery]) -> list[bytes]:
        """One reply a delivery: its verdicts, after the commit, or NOTHING_DECIDED."""
        commands = {delivery.id: decoded for delivery in deliveries if (decoded := _decode(delivery)) is not None}
        decodable = [delivery for delivery in deliveries if delivery.id in commands]
        replies = self._apply_in_time(decodable, commands) if decodable else {}
        return [replies.get(delivery.id, NOTHING_DECIDED) for delivery in deliveries]

    def _apply_in_time(
        self, deliveries: Sequence[Delivery], commands: dict[str, list[Command]], *, look_first: bool = False
    ) -> dict[str, bytes]:
        """Try until the first of the deadlines; after an outage, those with more time are tried on without that one."""
        deadline = min(delivery.deadline for delivery in deliveries)
        look_first = look_first or any(delivery.redelivered for delivery in deliveries)
        try:
            with observation.TRANSACTION_SECONDS.time():
                return patiently(
                    lambda attempt: self._apply_once(
                        deliveries, commands, deadline, look_first=look_first or attempt > 0
                    ),
                    deadline,
                )
        except Exception as error:  # noqa: BLE001 (whatever it is: log everything, promise nothing)
            may_pass = is_outage(error) or is_conflict(error)
            rest = [delivery for delivery in deliveries if may_pass and delivery.deadline > deadline]
            _log_failure(
                error, [commands[delivery.id] for delivery in deliveries if delivery not in rest], may_pass=may_pass
            )
        return self._apply_in_time(rest, commands, look_first=True) if rest else {}

    def _apply_once(
        self, deliveries: Sequence[Delivery], commands: dict[str, list[Command]], deadline: float, *, look_first: bool
    ) -> dict[str, bytes]:
        ids = self._source_ids.of(
            self._db, {command.origin.source for delivery in deliveries for command in commands[delivery.id]}
        )
        rules = self._rules.book(self._db)
        with self._db.begin() as transaction:
            replies = _already_applied(transaction, deliveries) if look_first else {}
            fresh = [delivery for delivery in deliveries if delivery.id not in replies]
            if not fresh:
                return replies
            batch = [command for delivery in fresh for command in commands[delivery.id]]
            markers = Markers(transaction, batch, ids)
            if look_first:
                markers.look()
            new = dict.fromkeys(markers.new(), Verdict.REFUSED)
            named = [(place, command) for place in new if not isinstance(command := batch[place], RefusedCommand)]
            events = [command.event(ids[command.origin.source]) for _, command in named]
            work = UnitOfWork(transaction, rules)
            verdicts = work.decide_all(events, look_first=look_first)
            new.update(zip((place for place, _ in named), verdicts, strict=True))
            answers = markers.complete(new)
            decided = _encode_each(fresh, commands, answers)
            rejected = list(rejections(batch, answers, new, ids))
            work.save(decided.items(), markers.rows(new), [rejection for _, rejection in rejected])
            if time.monotonic() >= deadline:
                raise DatabaseTimeout("decided too late to be promised")
            transaction.commit()
        observation.count_events(events, verdicts)
        observation.count_rejections((source, rejection.code) for source, rejection in rejected)
        observation.count_replies(work.replies)
        observation.EXPIRED.inc(len(work.expired))
        observation.BATCH_EVENTS.observe(len(events))
        return replies | decided


def _decode(delivery: Delivery) -> list[Command] | None:
    try:
        return decode_commands(delivery.payload)
    except (UnknownVersion, msgspec.DecodeError) as error:
        log.error("batch refused", batch=delivery.id, reason=str(error))  # noqa: TRY400 (not a fault of ours)
        return None


def _encode_each(
    deliveries: Sequence[Delivery], commands: dict[str, list[Command]], verdicts: Sequence[Verdict]
) -> dict[str, bytes]:
    rest = iter(verdicts)
    return {delivery.id: encode_verdicts(list(islice(rest, len(commands[delivery.id])))) for delivery in deliveries}


def _already_applied(transaction: Transaction, deliveries: Sequence[Delivery]) -> dict[str, bytes]:
    ids = [delivery.id for delivery in deliveries]
    return {batch_id: bytes(verdicts) for batch_id, verdicts in transaction.fetch(statements.APPLIED, ids)}


def _log_failure(error: Exception, batches: Sequence[Sequence[Command]], *, may_pass: bool) -> None:
    request_ids = [command.request_id for batch in batches for command in batch]
    facts = {"events": len(request_ids), "request_ids": request_ids[:_LOGGED_REQUEST_IDS]}
    if may_pass:
        log.warning("batch given up: no commit in time", reason=str(error).partition("\n")[0], **facts)
    else:
        log.error("batch failed", exc_info=error, **facts)
