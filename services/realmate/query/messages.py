"""`GET /conversations/{id}/messages/`: a conversation's messages by their positions, page by page.

Positions are append-only, as timestamps are not: a page that was read once never changes, but for erasing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from realmate.domain.model import MessageKind
from realmate.feed.contents import with_contents
from realmate.feed.events import MessageEvent
from realmate.feed.reading import PAGE_BYTES
from realmate.http_server import Request
from realmate.http_server.response_memory import Reservations
from realmate.query.parameters import ID, INVALID_QUERY, SOURCE, Parameters, choice, links, whole
from realmate.query.problems import NOT_FOUND, READ_PROBLEMS, ambiguous
from realmate.query.reads import OPENED, VISIBLE
from realmate.runtime.database import patiently
from realmate.runtime.settings import Settings
from realmate.runtime.transaction import Statement, Transactions
from realmate.sources.tokens import Holder
from realmate.wire.ids import parse_uuid
from realmate.wire.openapi import Operation, Parameter, Success
from realmate.wire.responses import Response

KNOWN = ("after", "before", "limit", "type", "source")
LIMIT, MOST = 100, 1_000
LAST = 2**31 - 1
_KINDS: Mapping[str, int] = {"INBOUND": MessageKind.INBOUND, "OUTBOUND": MessageKind.OUTBOUND}


def _page(direction: str) -> str:
    """Return SQL for the messages between two positions: the first ones from below (ASC) or from above (DESC)."""
    chosen = f"""
        SELECT id, kind, seq, "timestamp", content FROM messages
        WHERE conversation_id = found.id AND source_id = found.source_id AND {VISIBLE} AND kind = ANY ($3)
            AND seq > $4 AND seq < $5
        ORDER BY seq {direction} LIMIT $6
    """
    return f"""
        WITH found AS MATERIALIZED (
            SELECT conversation.id, source_id, source.name
            FROM conversations AS conversation JOIN sources AS source ON source.id = source_id
            WHERE conversation.id = $1 AND {OPENED} AND ($2 IS NULL OR source.name = ANY ($2))
        )
        SELECT name, CAST(message.id AS text), kind, seq, "timestamp", fitting
        FROM found LEFT JOIN LATERAL {with_contents(chosen, order=f"seq {direction}", most_bytes="$7")}
            AS message ON (SELECT count(*) FROM found) = 1
        ORDER BY name, seq {direction}
    """


_TYPES = ("uuid", "text[]", "integer[]", "integer", "integer", "integer", "bigint")
_FROM_BELOW = Statement("messages_from_below", _TYPES, _page("ASC"))
_FROM_ABOVE = Statement("messages_from_above", _TYPES, _page("DESC"))


class MessagesPage(msgspec.Struct):
    items: list[MessageEvent]
    next: str | None
    """The path of the next page; null: this is the last one."""


class _Asked(msgspec.Struct):
    conversation_id: str
    sources: frozenset[str] | None
    kinds: frozenset[int]
    after: int | None
    before: int | None
    limit: int
    parameters: Parameters

    @property
    def goes_back(self) -> bool:
        """Whether the page is the last one before a position, instead of the first one after another."""
        return self.before is not None and self.after is None


def answer(db: Transactions, room: Reservations, settings: Settings, request: Request, holder: Holder) -> Response:
    """Return the page that the request asks for. Raises InvalidQuery, MemoryExhausted, and what an outage raises."""
    try:
        asked = _asked(request, holder.sources)
    except ValueError:
        return NOT_FOUND
    deadline = request.arrived_at + settings.command_timeout_s
    limit_bytes = min(PAGE_BYTES, settings.http_max_batch_bytes)
    with room.of(limit_bytes, deadline):
        return _answer(asked, patiently(lambda _attempt: _rows(db, asked, limit_bytes), deadline))


def _asked(request: Request, readable: frozenset[str] | None) -> _Asked:
    """Raises InvalidQuery, and ValueError where the path has no id."""
    conversation_id = parse_uuid(request.param)
    parameters = Parameters(request.query, KNOWN)
    after = parameters.one("after", whole(0, LAST), None)
    before = parameters.one("before", whole(0, LAST), None)
    limit = parameters.one("limit", whole(1, MOST), LIMIT)
    kinds = parameters.several("type", choice(_KINDS), len(_KINDS))
    sources = parameters.sources(readable, 1)
    parameters.check()
    return _Asked(
        conversation_id,
        sources,
        frozenset(_KINDS.values()) if kinds is None else kinds,
        after,
        before,
        limit,
        parameters,
    )


def _rows(db: Transactions, asked: _Asked, limit_bytes: int) -> list[tuple[Any, ...]]:
    return db.fetch(
        _FROM_ABOVE if asked.goes_back else _FROM_BELOW,
        asked.conversation_id,
        None if asked.sources is None else list(asked.sources),
        list(asked.kinds),
        asked.after or 0,
        LAST if asked.before is None else asked.before,
        asked.limit + 1,
        limit_bytes,
    )


def _answer(asked: _Asked, rows: Sequence[tuple[Any, ...]]) -> Response:
    if not rows:
        return NOT_FOUND
    if rows[0][0] != rows[-1][0]:
        return ambiguous([row[0] for row in rows])
    items: list[MessageEvent] = []
    for _, key, kind, position, timestamp, content in rows:
        if key is None or content is None or len(items) == asked.limit:
            break
        items.append(MessageEvent(key, MessageKind(kind).name, content, timestamp, position))
    following = None
    if items and len(items) < len(rows):
        query = asked.parameters.but(**{"before" if asked.goes_back else "after": items[-1].position})
        following = f"/conversations/{asked.conversation_id}/messages/?{query}"
    items.sort(key=attrgetter("position"))
    return Response(200, msgspec.json.encode(MessagesPage(items, following)), headers=links(following))


OPERATION = Operation(
    "GET",
    "/conversations/{id}/messages/",
    "list_messages",
    "List a conversation's messages by their positions",
    (Success(200, "A page of the messages.", MessagesPage, headers=("Link",)),),
    (*READ_PROBLEMS, INVALID_QUERY, NOT_FOUND, ambiguous(["shop", "store"])),
    parameters=(
        ID,
        SOURCE,
        Parameter("after", {"type": "integer", "minimum": 0, "maximum": LAST}, "From behind this position on."),
        Parameter("before", {"type": "integer", "minimum": 0, "maximum": LAST}, "Back from this position."),
        Parameter("type", {"enum": list(_KINDS)}, "Messages of this type alone.", is_repeatable=True),
        Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT}, "The most in a page."),
    ),
    scope="read",
)
