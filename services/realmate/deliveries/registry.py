"""The endpoints' rows, which follow the file of sources: an endpoint begins, is paused and ends.

Replicas may have different versions of the file for a while. So each says which endpoints its file names, and one ends
only when nobody has named it for NAMED_S.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import structlog

from realmate.deliveries import endpoint_statements as statements
from realmate.deliveries import metrics
from realmate.feed.reading import FeedStarting, state
from realmate.runtime.transaction import Transactions
from realmate.sources.endpoints import Endpoint

NAME_PAUSE_S = 10.0
COUNTED_AT_MOST = 10_000
LANES_AT_ONCE = 1_000
ATTEMPTS_AT_ONCE = 10_000
FORGETTING_S = 1.0
KEPT_DELIVERED, KEPT_OTHERS = 500, 1_000
"""The newest attempts of an endpoint that are kept, of those that were well and of those that were not."""
KEPT_ATTEMPTS_DAYS = 30

log = structlog.get_logger(__name__)


class EndpointRow(NamedTuple):
    id: int
    name: str
    has_begun: bool
    """Whether it has its place in the feed."""
    pause_reason: str | None
    failing_s: float
    behind: int
    is_unnamed: bool
    """Whether nobody has named it for a while."""


class Registry:
    """The endpoints that this process may send to, by their names."""

    def __init__(self) -> None:
        self.ids: dict[str, int] = {}
        self._told: set[str] = set()

    def look(self, db: Transactions, named: Collection[str]) -> None:
        """Follow the file: begin what is new, end what nobody names, and tell how all are."""
        if named:
            db.fetch(statements.NAME_ENDPOINTS, sorted(named), NAME_PAUSE_S)
        rows = _rows(db)
        if any(not row.has_begun for row in rows if row.name in named):
            rows = _begun(db, rows)
        self.ids = {row.name: row.id for row in rows if row.has_begun and row.name in named}
        _end(db, [row.id for row in rows if row.is_unnamed and row.name not in named])
        self._tell(db, [row for row in rows if row.name in self.ids])

    def known(self, named: Mapping[str, Endpoint]) -> dict[int, Endpoint]:
        """Return those of them that have begun, by their ids."""
        return {self.ids[name]: endpoint for name, endpoint in named.items() if name in self.ids}

    def _tell(self, db: Transactions, rows: list[EndpointRow]) -> None:
        found = db.fetch(statements.WAITING, [row.id for row in rows], COUNTED_AT_MOST) if rows else []
        queues = {key: (waiting, overdue_s) for key, waiting, overdue_s in found}
        for row in rows:
            metrics.PAUSED.labels(row.name).set(row.pause_reason is not None)
            metrics.FAILING_SECONDS.labels(row.name).set(row.failing_s)
            metrics.BEHIND.labels(row.name).set(row.behind)
            waiting, overdue_s = queues.get(row.id, (0, 0.0))
            metrics.WAITING.labels(row.name).set(waiting)
            metrics.OVERDUE_SECONDS.labels(row.name).set(overdue_s)
        for name in self._told - self.ids.keys():
            metrics.forget(name)
        self._told = {*self.ids}


def _rows(db: Transactions) -> list[EndpointRow]:
    return [EndpointRow(*row) for row in db.fetch(statements.ENDPOINTS)]


def _begun(db: Transactions, rows: list[EndpointRow]) -> list[EndpointRow]:
    """Give the new endpoints their place, at the feed's end: they are told what happens from now on."""
    try:
        now = state(db).last
    except FeedStarting:
        return rows
    begun = {key for (key,) in db.fetch(statements.BEGIN_CURSORS, now.text(), now.position)}
    for row in rows:
        if row.id in begun:
            log.info("endpoint begins", endpoint=row.name, position=now.position)
    return _rows(db)


def _end(db: Transactions, unnamed: list[int]) -> None:
    for name, waiting in db.fetch(statements.END_ENDPOINTS, unnamed, COUNTED_AT_MOST) if unnamed else ():
        log.warning(
            "endpoint ends with its pending deliveries: it is not in the file of sources any more",
            endpoint=name,
            conversations=f"{waiting} or more" if waiting == COUNTED_AT_MOST else waiting,
        )


def pause(db: Transactions, endpoint_id: int, name: str, reason: str, **why: Any) -> None:
    """Pause an endpoint, unless it is paused already."""
    if db.fetch(statements.PAUSE, endpoint_id, reason):
        log.error("endpoint is paused", endpoint=name, reason=reason, **why)


def tidy(db: Transactions) -> None:
    """Delete what is left of endpoints that have ended, and attempts beyond those that are kept."""
    until = time.monotonic() + FORGETTING_S
    for (endpoint_id,) in db.fetch(statements.ENDED):
        while time.monotonic() < until and _forget_some(db, endpoint_id):
            pass
        db.fetch(statements.FORGET_ENDPOINT, endpoint_id)
    for row in _rows(db):
        for delivered, kept in ((True, KEPT_DELIVERED), (False, KEPT_OTHERS)):
            db.fetch(statements.FORGET_OLD_ATTEMPTS, row.id, delivered, kept, ATTEMPTS_AT_ONCE, KEPT_ATTEMPTS_DAYS)


def _forget_some(db: Transactions, endpoint_id: int) -> bool:
    [(lanes,)] = db.fetch(statements.FORGET_LANES, endpoint_id, LANES_AT_ONCE)
    [(attempts,)] = db.fetch(statements.FORGET_ATTEMPTS, endpoint_id, ATTEMPTS_AT_ONCE)
    return bool(lanes or attempts)


def forget_erased(db: Transactions) -> None:
    """Delete the attempts at conversations that are erased, which were noted while the erasure ran."""
    db.fetch(statements.FORGET_ERASED_ATTEMPTS)
