"""The history of what was erased: by retention, by the console, or on the command line."""

from __future__ import annotations

from datetime import datetime

import msgspec
from sqlalchemy import Connection, text

from realmate.conversations.erasing import Erased


class Erasure(msgspec.Struct):
    """One line of the history: what was erased at once."""

    id: int
    started_at: datetime
    finished_at: datetime
    source: str
    reason: str
    conversations: int
    messages: int
    rejections: int

    @property
    def erased(self) -> Erased:
        return Erased(self.conversations, self.messages, self.rejections)


def newest(connection: Connection, limit: int, before: int | None = None) -> list[Erasure]:
    """Return the newest lines, the newest first, of those before the line with this id."""
    rows = connection.execute(
        text(
            "SELECT erasures.id, started_at, finished_at, name, reason, conversations, messages, rejections"
            " FROM erasures JOIN sources ON sources.id = source_id"
            " WHERE CAST(:before AS bigint) IS NULL OR erasures.id < :before ORDER BY erasures.id DESC LIMIT :limit"
        ),
        {"before": before, "limit": limit},
    )
    return [Erasure(*row) for row in rows]


def number_of(connection: Connection, source: str) -> int | None:
    """Return the number of a source, or None where no event of it ever came."""
    statement = text("SELECT id FROM sources WHERE name = :name")
    number: int | None = connection.execute(statement, {"name": source}).scalar()
    return number
