"""Claims lanes that are due, and reads what is to be sent in each: its oldest delivery.

A claim is a lease with an end. Whoever dies with it sends nothing more, and another process sends the same event, with
the same id, when the lease is over.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from realmate.deliveries import statements
from realmate.feed.events import Event, Message, conversation_event, message_event
from realmate.feed.reading import CLOSED, ERASED, OPENED
from realmate.runtime.transaction import Transaction, Transactions, uuid_array
from realmate.sources.endpoints import Endpoint
from realmate.sources.limits import allowance

LEASE_BEYOND_TIMEOUT_S = 5.0
_OF_THE_CONVERSATION = {OPENED, CLOSED, ERASED}


class Lane(NamedTuple):
    """One conversation's way to one endpoint; this process has the lease on it."""

    conversation_id: str
    source_id: int
    endpoint_id: int
    claim: int


class Claimed(NamedTuple):
    """A lane, with what is to be sent in it."""

    lane: Lane
    send_until: float
    """The `time.monotonic()` after which the lease may end before the request does."""
    n: int | None = None
    """The number of its oldest delivery; None: it has none."""
    failures: int = 0
    gap: bool = False
    event: Event | None = None
    """None: there is nothing to send, because it is erased."""


def claim(db: Transactions, wanted: Mapping[int, tuple[Endpoint, int]]) -> list[Claimed]:
    """Claim at most so many lanes of each endpoint, by its id."""
    began = time.monotonic()
    if any(endpoint.rate for endpoint, _ in wanted.values()):
        with db.begin() as transaction:
            rows = _within_rates(transaction, wanted)
            transaction.commit()
    else:
        rows = db.fetch(statements.CLAIM, *_asked(wanted))
    lanes = [Lane(*row) for row in rows]
    return _heads(db, [Claimed(lane, began + LEASE_BEYOND_TIMEOUT_S) for lane in lanes]) if lanes else []


def lease_s(endpoint: Endpoint) -> float:
    """Return for how long a lane is this process's from its claim on."""
    return endpoint.timeout_s + LEASE_BEYOND_TIMEOUT_S


def keys(lanes: Sequence[Lane]) -> tuple[object, ...]:
    """Return the lanes' keys as the statements take them."""
    return (
        uuid_array(lane.conversation_id for lane in lanes),
        [lane.source_id for lane in lanes],
        [lane.endpoint_id for lane in lanes],
    )


def _asked(wanted: Mapping[int, tuple[Endpoint, int]]) -> tuple[list[int], list[int], list[float]]:
    leases_s = [lease_s(endpoint) for endpoint, _ in wanted.values()]
    return list(wanted), [free for _, free in wanted.values()], leases_s


def _within_rates(transaction: Transaction, wanted: Mapping[int, tuple[Endpoint, int]]) -> list[Any]:
    """Claim as many as the rates allow to all processes together: the endpoint's row is the lock and the counter."""
    limits = {key: endpoint.rate for key, (endpoint, _) in wanted.items() if endpoint.rate is not None}
    ahead_s = {key: float(seconds) for key, seconds in transaction.fetch(statements.LOCK_RATES, list(limits))}
    free = {key: number for key, (_, number) in wanted.items()}
    for key, limit in limits.items():  # what another process counts at this moment waits for the next look
        free[key] = min(free[key], allowance(limit, 0, ahead_s[key]).left) if key in ahead_s else 0
    within = {key: (endpoint, free[key]) for key, (endpoint, _) in wanted.items()}
    rows = transaction.fetch(statements.CLAIM, *_asked(within))
    spent = Counter(row[2] for row in rows if row[2] in limits)
    if spent:
        seconds = [number * limits[key].interval_s for key, number in spent.items()]
        transaction.add(statements.SPEND_RATES, list(spent), seconds)
    return rows


def _heads(db: Transactions, claimed: Sequence[Claimed]) -> list[Claimed]:
    """Return them with their oldest deliveries. This looks after the claim, so it sees what others have settled."""
    found = list(claimed)
    for number, failures, gap, n, place, kind, at, source, *message in db.fetch(
        statements.HEADS, *keys([each.lane for each in claimed])
    ):
        lane = claimed[number - 1].lane
        event: Event | None = None
        if place in _OF_THE_CONVERSATION:
            event = conversation_event(source, lane.conversation_id, kind, at)
        elif message[0] is not None:
            key, message_kind, timestamp, content = message
            told = Message(key, place, message_kind, timestamp, content)
            event = message_event(source, lane.conversation_id, at, told)
        found[number - 1] = claimed[number - 1]._replace(n=n, failures=failures, gap=gap, event=event)
    return found
