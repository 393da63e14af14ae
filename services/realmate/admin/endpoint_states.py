"""The endpoints' states: what the file and the database say about each, for the command line and for the console."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Connection, text

COUNTED_AT_MOST = 10_000

_LIST = """
    SELECT id, name, paused_at, pause_reason, failing_since, held_until,
        (SELECT count(*) FROM (
            SELECT FROM delivery_lanes WHERE endpoint_id = id AND state < 2 LIMIT :most
        ) AS few) AS waiting,
        greatest(0, (SELECT position FROM feed) - position) AS behind
    FROM endpoints LEFT JOIN endpoint_cursors ON endpoint_id = id
    WHERE ended_at IS NULL ORDER BY name
"""


class EndpointState(msgspec.Struct):
    name: str
    state: str
    """`delivering`, `failing`, `paused`, `new` (no process has read it yet) or `not in the file`."""
    url: str | None = None
    pause_reason: str | None = None
    since: datetime | None = None
    """When it was paused, or began to fail."""
    waiting: int = 0
    """Conversations with deliveries that wait; COUNTED_AT_MOST are counted."""
    behind: int = 0
    """Changes in the feed that are no deliveries yet."""
    id: int | None = None


def states(connection: Connection, urls: Mapping[str, str]) -> list[EndpointState]:
    """Return the endpoints of the file, whose addresses are given, and those of the database."""
    rows = {row.name: row for row in connection.execute(text(_LIST), {"most": COUNTED_AT_MOST})}
    return [_state(name, rows.get(name), urls.get(name)) for name in sorted(rows.keys() | urls.keys())]


def _state(name: str, row: Any, url: str | None) -> EndpointState:
    if row is None:
        return EndpointState(name, "new", url)
    state, since = "delivering", None
    if row.failing_since is not None:
        state, since = "failing", row.failing_since
    if row.paused_at is not None:
        state, since = "paused", row.paused_at
    if url is None:
        state = "not in the file"
    return EndpointState(name, state, url, row.pause_reason, since, row.waiting, row.behind or 0, row.id)
