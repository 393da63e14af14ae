"""What the database tells of an endpoint's deliveries: a summary, the attempts that are kept, and what waits."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.engine import Row

_ATTEMPT = "attempt.id, attempt.at, outcome, status, failure, answer, took_ms, attempt.attempt AS number"
_ON_LANE = """
    lane.conversation_id = attempt.conversation_id AND lane.source_id = attempt.source_id
    AND lane.endpoint_id = attempt.endpoint_id
"""
_ATTEMPTS = f"""
    SELECT {_ATTEMPT}, event_id, attempt.type, event_at, sources.name AS source,
        CAST(attempt.conversation_id AS text) AS conversation_id, is_pending,
        CASE WHEN is_pending AND lane.state = 0 THEN lane.due_at END AS next_attempt_at
    FROM delivery_attempts AS attempt JOIN sources ON sources.id = source_id
    CROSS JOIN LATERAL (
        SELECT EXISTS (
            SELECT FROM deliveries AS lane WHERE {_ON_LANE} AND place = attempt.place AND type = attempt.type
        ) AS is_pending
    ) AS met
    LEFT JOIN delivery_lanes AS lane ON {_ON_LANE}
    WHERE attempt.endpoint_id = :endpoint
"""
_PENDING = f"""
    SELECT {_ATTEMPT}, event_id, head.type, head.at AS event_at, sources.name AS source,
        CAST(lane.conversation_id AS text) AS conversation_id, true AS is_pending,
        CASE WHEN lane.state = 0 THEN lane.due_at END AS next_attempt_at, lane.due_at, lane.source_id
    FROM delivery_lanes AS lane JOIN sources ON sources.id = lane.source_id
    CROSS JOIN LATERAL (
        SELECT place, type, at FROM deliveries
        WHERE conversation_id = lane.conversation_id AND source_id = lane.source_id AND endpoint_id = lane.endpoint_id
        ORDER BY n LIMIT 1
    ) AS head
    LEFT JOIN LATERAL (
        SELECT * FROM delivery_attempts AS attempt
        WHERE {_ON_LANE} AND attempt.place = head.place AND attempt.type = head.type ORDER BY id DESC LIMIT 1
    ) AS attempt ON true
    WHERE lane.endpoint_id = :endpoint AND lane.state < 2
"""
_LAST = f"""
    SELECT {_ATTEMPT} FROM delivery_attempts AS attempt
    WHERE endpoint_id = :endpoint AND (outcome = 'delivered') = :delivered ORDER BY id DESC LIMIT 1
"""
_OF_DAY = """
    SELECT outcome, count(*) FROM delivery_attempts
    WHERE endpoint_id = :endpoint AND at > now() - interval '1 day' GROUP BY outcome
"""
_NEXT_TURN = "SELECT min(due_at) FROM delivery_lanes WHERE endpoint_id = :endpoint AND state = 0"


class Summary(NamedTuple):
    """How an endpoint fares."""

    success: Row[Any] | None
    """The last attempt that was well."""
    failure: Row[Any] | None
    """The last attempt that was not."""
    day: dict[str, int]
    """The attempts of the last 24 hours that are kept, by their outcomes."""
    next_attempt_at: datetime | None


def summary(connection: Connection, endpoint_id: int) -> Summary:
    values = {"endpoint": endpoint_id}
    success = connection.execute(text(_LAST), values | {"delivered": True}).first()
    failure = connection.execute(text(_LAST), values | {"delivered": False}).first()
    day: dict[str, int] = dict(connection.execute(text(_OF_DAY), values).tuples().all())
    return Summary(success, failure, day, connection.execute(text(_NEXT_TURN), values).scalar())


def newest_attempts(  # noqa: PLR0913 (what a list is asked for)
    connection: Connection,
    endpoint_id: int,
    *,
    limit: int,
    before: int | None,
    only_failures: bool,
    sources: Collection[str] | None,
) -> list[Row[Any]]:
    """Return the newest attempts, the newest first, of those before the one with this id."""
    conditions = ["attempt.id < :before"] * (before is not None) + ["outcome <> 'delivered'"] * only_failures
    values = {"endpoint": endpoint_id, "before": before, "limit": limit, "sources": sorted(sources or ())}
    statement = f"{_with(_ATTEMPTS, conditions, sources)} ORDER BY attempt.id DESC LIMIT :limit"
    return [*connection.execute(text(statement), values)]


def pending(
    connection: Connection,
    endpoint_id: int,
    *,
    limit: int,
    after: Sequence[Any] | None,
    sources: Collection[str] | None,
) -> list[Row[Any]]:
    """Return the oldest pending delivery of each conversation, those first whose turn comes first."""
    place = "(lane.due_at, lane.conversation_id, lane.source_id)"
    behind = f"{place} > (CAST(:at AS timestamptz), CAST(:conversation AS uuid), :source)"
    at, conversation, source = after or (None, None, None)
    values = {"endpoint": endpoint_id, "limit": limit, "sources": sorted(sources or ())}
    values |= {"at": at, "conversation": None if conversation is None else str(conversation), "source": source}
    statement = f"{_with(_PENDING, [behind] * (after is not None), sources)} ORDER BY {place[1:-1]} LIMIT :limit"
    return [*connection.execute(text(statement), values)]


def _with(statement: str, conditions: list[str], sources: Collection[str] | None) -> str:
    of_sources = ["sources.name = ANY (:sources)"] * (sources is not None)
    return " AND ".join([statement, *conditions, *of_sources])
