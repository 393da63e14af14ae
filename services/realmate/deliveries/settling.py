"""Settles what became of deliveries, of all endpoints in one transaction: what was sent goes, and its lane goes on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import structlog

from realmate.deliveries import statements
from realmate.deliveries.attempts import Result
from realmate.deliveries.claiming import Claimed, keys
from realmate.runtime.transaction import Transaction, Transactions
from realmate.sources.endpoints import Endpoint

GAP_KEPT_S = 30 * 86_400.0
"""How long a lane without deliveries remembers that one was given up."""

log = structlog.get_logger(__name__)


class Settled(NamedTuple):
    """A claimed lane, and what became of its delivery."""

    claimed: Claimed
    endpoint: Endpoint
    result: Result | None = None
    """None: there was nothing to send."""

    @property
    def is_postponed(self) -> bool:
        return self.result is not None and self.result.outcome == "failed"

    @property
    def gap(self) -> bool | None:
        """Whether the lane has a gap from now on; None: as before."""
        if self.result is not None:
            return not self.result.is_delivered
        return None if self.claimed.n is not None else False


def settle(db: Transactions, outcomes: Sequence[Settled]) -> None:
    """Write what became of them, but of those lanes alone on which this process still has the lease."""
    with db.begin() as transaction:
        lanes = [each.claimed.lane for each in outcomes]
        locked = transaction.fetch(statements.LOCK_LANES, *keys(lanes), [lane.claim for lane in lanes])
        ours = [outcomes[number - 1] for (number,) in locked]
        if not ours:
            return
        paused = _note(transaction, ours)
        _add_attempts(transaction, ours)
        _postpone(transaction, [each for each in ours if each.is_postponed])
        _finish(transaction, [each for each in ours if not each.is_postponed])
        transaction.commit()
    for name, reason in paused:
        log.error("endpoint is paused", endpoint=name, reason=reason)


def _note(transaction: Transaction, ours: Sequence[Settled]) -> list[tuple[str, str]]:
    """Note how the endpoints are; return those that are paused by it, with why."""
    of_endpoints: dict[int, list[Settled]] = {}
    for each in ours:
        if each.result is not None:
            of_endpoints.setdefault(each.claimed.lane.endpoint_id, []).append(each)
    if not of_endpoints:
        return []
    noted = [_noted(key, of_endpoints[key]) for key in sorted(of_endpoints)]
    rows = transaction.fetch(statements.NOTE, *map(list, zip(*noted, strict=True)))
    return [(name, reason) for name, reason in rows if reason is not None]


def _noted(endpoint_id: int, of_it: Sequence[Settled]) -> tuple[int, bool, bool, float, float]:
    results = [each.result for each in of_it if each.result is not None]
    return (
        endpoint_id,
        any(result.is_delivered for result in results),
        any(result.is_gone for result in results),
        max(result.hold_s for result in results),
        of_it[0].endpoint.pause_after_s,
    )


def _add_attempts(transaction: Transaction, ours: Sequence[Settled]) -> None:
    made = [(each.claimed, each.result) for each in ours if each.result is not None and each.claimed.event is not None]
    if not made:
        return
    results = [result for _, result in made]
    transaction.add(
        statements.ADD_ATTEMPTS,
        *keys([claimed.lane for claimed, _ in made]),
        [claimed.n for claimed, _ in made],
        [claimed.event.id for claimed, _ in made if claimed.event is not None],
        [claimed.failures + 1 for claimed, _ in made],
        [round(result.took_s * 1000) for result in results],
        [result.outcome for result in results],
        _array([result.status for result in results]),
        [result.failure for result in results],
        [result.answer for result in results],
    )


def _postpone(transaction: Transaction, postponed: Sequence[Settled]) -> None:
    if postponed:
        results = [each.result for each in postponed if each.result is not None]
        transaction.add(
            statements.POSTPONE,
            *keys([each.claimed.lane for each in postponed]),
            [result.pause_s for result in results],
            [0 if result.is_gone else 1 for result in results],
        )


def _finish(transaction: Transaction, finished: Sequence[Settled]) -> None:
    if not finished:
        return
    sent = [each.claimed for each in finished if each.claimed.n is not None]
    if sent:
        transaction.add(statements.FINISH, *keys([each.lane for each in sent]), [each.n for each in sent])
    transaction.add(
        statements.GO_ON,
        *keys([each.claimed.lane for each in finished]),
        _array([each.gap for each in finished]),
        GAP_KEPT_S,
    )


def _array(values: Sequence[int | bool | None]) -> str:
    """Return an array of numbers or truth values, each of which may be missing."""
    return "{" + ",".join("NULL" if value is None else str(value) for value in values) + "}"
