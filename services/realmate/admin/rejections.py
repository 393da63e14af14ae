"""Rejected and expired events, as a person searches for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, text

PAGE = 500
PAGE_BYTES = 16 * 1024 * 1024


class Filter(NamedTuple):
    """The choice of rejections. A field that is empty or None chooses all."""

    source: str | None = None
    codes: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    conversation: str | None = None
    unreplayed: bool = False
    """Only those that no replay has sent yet."""
    ids: tuple[int, ...] | None = None

    def where(self) -> tuple[str, dict[str, Any]]:
        """Return the filter as SQL, with its parameters."""
        conditions = {
            "source.name = :source": self.source,
            "code = ANY(:codes)": list(self.codes) or None,
            "at >= :since": self.since,
            "at < :until": self.until,
            "conversation_id = CAST(:conversation AS uuid)": self.conversation,
            "rejection.id = ANY(:ids)": self.ids,
        }
        given = {condition: value for condition, value in conditions.items() if value is not None}
        parts = [*given, *(["replayed_at IS NULL"] if self.unreplayed else [])]
        values = {name: value for name, value in self._asdict().items() if value is not None}
        return " AND ".join(parts) or "true", values | {"codes": list(self.codes), "ids": list(self.ids or ())}


class Summary(msgspec.Struct):
    """A rejection without its event."""

    id: int
    at: datetime
    source: str
    code: str
    detail: str
    request_id: str | None
    conversation_id: str | None
    message_id: str | None
    replayed_at: datetime | None
    replay_status: int | None
    replay_code: str | None


class Rejection(Summary):
    body: bytes


COLUMNS = """
    rejection.id, at, source.name AS source, code, detail, request_id, CAST(conversation_id AS text) AS conversation_id,
    CAST(message_id AS text) AS message_id, replayed_at, replay_status, replay_code
"""
"""The fields of `Summary` in SQL, of a table `rejection` that is joined with its `source`."""
_FROM = "FROM rejections AS rejection JOIN sources AS source ON source.id = source_id"
_SELECT = f"SELECT {COLUMNS}, body {_FROM}"


def newest(connection: Connection, which: Filter, limit: int) -> list[Rejection]:
    """The newest ones, the oldest of them first."""
    where, values = which.where()
    statement = f"{_SELECT} WHERE {where} ORDER BY at DESC, rejection.id DESC LIMIT :limit"
    rows = connection.execute(text(statement), values | {"limit": limit})
    return [_rejection(row) for row in rows][::-1]


def count(connection: Connection, which: Filter) -> dict[str, int]:
    """Return how many there are of each code."""
    where, values = which.where()
    rows = connection.execute(text(f"SELECT code, count(*) {_FROM} WHERE {where} GROUP BY code ORDER BY code"), values)
    return {row[0]: row[1] for row in rows}


def find(connection: Connection, number: int) -> Rejection | None:
    row = connection.execute(text(f"{_SELECT} WHERE rejection.id = :id"), {"id": number}).first()
    return None if row is None else _rejection(row)


def oldest_first(connection: Connection, which: Filter) -> Iterator[Rejection]:
    """Yield all that exist now. Those that arrive meanwhile are not included."""
    where, values = which.where()
    last = connection.execute(text("SELECT coalesce(max(id), 0) FROM rejections")).scalar_one()
    numbers = text(
        f"SELECT rejection.id, octet_length(body) {_FROM} WHERE {where} AND rejection.id > :after"
        " AND rejection.id <= :last ORDER BY rejection.id LIMIT :limit"
    )
    rejections = text(f"{_SELECT} WHERE rejection.id = ANY(:numbers) ORDER BY rejection.id")
    after = 0
    while found := connection.execute(numbers, values | {"after": after, "last": last, "limit": PAGE}).all():
        page = _within_bytes([(number, size) for number, size in found])
        for row in connection.execute(rejections, {"numbers": page}).all():
            yield _rejection(row)
        after = page[-1]


def _within_bytes(found: Sequence[tuple[int, int]]) -> list[int]:
    """The first of these numbers whose bodies fit into memory together, one at least."""
    sizes = accumulate(size for _, size in found)
    fitting = [number for (number, _), size in zip(found, sizes, strict=True) if size <= PAGE_BYTES]
    return fitting or [found[0][0]]


def mark_replayed(connection: Connection, number: int, status: int, code: str | None) -> None:
    connection.execute(
        text(
            "UPDATE rejections SET replayed_at = clock_timestamp(), replay_status = :status, replay_code = :code"
            " WHERE id = :id"
        ),
        {"id": number, "status": status, "code": code},
    )


def _rejection(row: Any) -> Rejection:
    fields = dict(zip(Rejection.__struct_fields__, row, strict=True))
    return Rejection(**fields | {"body": bytes(fields["body"])})
