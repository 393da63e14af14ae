"""`GET /conversations/`: the conversations that a reader may read, page by page (docs/adr/0019).

A page is one statement, and so one snapshot; its `changes` is the end of the feed in that snapshot. Whoever lists, and
then follows the feed from the first page's `changes` on, misses nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import UUID

import msgspec

from realmate.domain.model import ACTIVE_LAG_S, MessageKind, Status
from realmate.feed import reading as feed
from realmate.feed.cursors import EPOCH, from_us, packed, to_us, unpacked
from realmate.feed.reading import STARTING, FeedStarting
from realmate.http_server import Request
from realmate.http_server.response_memory import Reservations
from realmate.query.entity_tags import IF_NONE_MATCH, answer_unless_known, tag
from realmate.query.parameters import INVALID_QUERY, Parameters, choice, links, whole
from realmate.query.problems import READ_PROBLEMS, lists_starting
from realmate.query.reads import OPENED, VISIBLE, ConversationStatus, MessageType
from realmate.runtime.database import patiently
from realmate.runtime.settings import Settings
from realmate.runtime.transaction import Statement, Transactions
from realmate.sources.tokens import Holder
from realmate.wire.moments import parse_moment
from realmate.wire.openapi import Operation, Parameter, Success
from realmate.wire.responses import Response

KNOWN = ("source", "status", "updated_since", "order", "limit", "cursor")
LIMIT, MOST = 50, 200
MOST_SOURCES = 100
EXCERPT_CHARS = 160
ITEM_BYTES = 2_048
"""The most bytes of one conversation in a page, roughly."""
SCANNED_AT_MOST = 2_000
"""How many conversations one page in the order of ids looks through. It may then have fewer items than its limit."""
ACTIVE, BY_ID = "-active", "id"
_STATUSES: Mapping[str, int] = {each.name: each for each in (Status.OPEN, Status.CLOSED)}
_ORDERS: Mapping[str, str] = {each: each for each in (ACTIVE, BY_ID)}

_TYPES = ("text[]", "integer[]", "timestamptz", "timestamptz", "uuid", "integer", "integer")
_READABLE = "readable AS MATERIALIZED (SELECT id FROM sources WHERE $1 IS NULL OR name = ANY ($1))"
# Each source and status is one walk along the index, from the newest on. The page is the newest of all of them.
_NEWEST = f"""
    {_READABLE},
    page AS MATERIALIZED (
        SELECT met.* FROM readable CROSS JOIN unnest($2) AS wanted (chosen) CROSS JOIN LATERAL (
            SELECT * FROM conversations
            WHERE source_id = readable.id AND status = wanted.chosen AND {OPENED}
                AND active_at >= $3 - interval '{ACTIVE_LAG_S} s' AND updated_at >= $3
                AND (active_at, id) <= ($4, $5) AND ((active_at, id) < ($4, $5) OR source_id < $6)
            ORDER BY active_at DESC, id DESC LIMIT $7
        ) AS met
        ORDER BY active_at DESC, id DESC, source_id DESC LIMIT $7
    ),
    edge (id, source_id) AS (SELECT CAST(NULL AS uuid), CAST(NULL AS integer))
"""
# One walk along the primary key, through SCANNED_AT_MOST rows at most. `edge` is the last of them.
_SCANNED = "FROM conversations WHERE (id, source_id) > ($5, $6) ORDER BY id, source_id"
_IN_ORDER_OF_IDS = f"""
    {_READABLE},
    page AS MATERIALIZED (
        SELECT * FROM (SELECT * {_SCANNED} LIMIT {SCANNED_AT_MOST}) AS scanned
        WHERE status = ANY ($2) AND {OPENED} AND updated_at >= $3
            AND ($1 IS NULL OR source_id = ANY (ARRAY(SELECT id FROM readable)))
        ORDER BY id, source_id LIMIT $7
    ),
    edge AS MATERIALIZED (SELECT id, source_id {_SCANNED} OFFSET {SCANNED_AT_MOST - 1} LIMIT 1)
"""


def _page(chosen: str, order: str) -> str:
    """Return SQL for a page: the state of the feed in each row, then the conversation with its last message."""
    not_full = "(SELECT count(*) FROM page) < $7"
    return f"""
        WITH state AS MATERIALIZED ({feed.STATE}), {chosen}
        SELECT {", ".join(f"state.{column}" for column in feed.STATE_COLUMNS)}, (SELECT undated_from FROM feed),
            CASE WHEN {not_full} THEN (SELECT CAST(id AS text) FROM edge) END,
            CASE WHEN {not_full} THEN (SELECT source_id FROM edge) END,
            CAST(page.id AS text), page.source_id, name, status, created_at, updated_at, active_at,
            CASE WHEN group_first_seq IS NOT NULL THEN due_at END,
            CAST(last.id AS text), last.kind, last.seq, last."timestamp", last.excerpt
        FROM state LEFT JOIN page ON true LEFT JOIN sources ON sources.id = page.source_id LEFT JOIN LATERAL (
            SELECT id, kind, seq, "timestamp", left(content, {EXCERPT_CHARS + 1}) AS excerpt FROM messages
            WHERE conversation_id = page.id AND messages.source_id = page.source_id AND {VISIBLE}
            ORDER BY seq DESC LIMIT 1
        ) AS last ON true
        ORDER BY {order}
    """


_STATEMENTS = {
    ACTIVE: Statement("list_newest", _TYPES, _page(_NEWEST, "page.active_at DESC, page.id DESC, page.source_id DESC")),
    BY_ID: Statement("list_in_order_of_ids", _TYPES, _page(_IN_ORDER_OF_IDS, "page.id, page.source_id")),
}


class LastMessage(msgspec.Struct):
    """The last message of a conversation, in a list."""

    id: str
    type: MessageType
    excerpt: str
    """The content's first characters."""
    truncated: bool
    timestamp: datetime
    position: int


class ListedConversation(msgspec.Struct):
    """A conversation in a list."""

    id: str
    source: str
    status: ConversationStatus
    created_at: datetime
    updated_at: datetime
    active_at: datetime
    """What lists are ordered by: it lags `updated_at` by 60 s at most."""
    reply_due_at: datetime | None
    """When its group of messages may be answered: later, if more messages come. Null: no group waits."""
    last_message: LastMessage | None


class ConversationList(msgspec.Struct):
    items: list[ListedConversation]
    next: str | None
    """The path of the next page; null: this is the last one."""
    changes: str
    """A cursor: `GET /changes/?after=…` goes on from the moment of this page."""


class _Place(NamedTuple):
    """The place in a list behind one conversation."""

    active_at: datetime
    id: str
    source_id: int


_FIRST = {
    ACTIVE: _Place(datetime.max.replace(tzinfo=UTC), "f" * 32, 2**31 - 1),
    BY_ID: _Place(datetime.max.replace(tzinfo=UTC), "0" * 32, -(2**31)),
}
_LONG_AGO = datetime.min.replace(tzinfo=UTC) + timedelta(days=366)
_FORM = struct.Struct(">B4sq16si")
_VERSION = 1


class _Asked(msgspec.Struct):
    order: str
    sources: frozenset[str] | None
    statuses: frozenset[int]
    since: datetime
    limit: int
    place: _Place
    parameters: Parameters
    digest: bytes
    """What tells one list from another: a cursor is good for its own list only."""


def answer(db: Transactions, room: Reservations, settings: Settings, request: Request, holder: Holder) -> Response:
    """Return the page that the request asks for. Raises InvalidQuery, MemoryExhausted, and what an outage raises."""
    asked = _asked(request, holder.sources)
    deadline = request.arrived_at + settings.command_timeout_s
    try:
        with room.of((asked.limit + 1) * ITEM_BYTES, deadline):
            rows = patiently(lambda _attempt: _rows(db, asked), deadline)
            return _answer(request, asked, rows)
    except FeedStarting as error:
        return lists_starting(str(error))


def _asked(request: Request, readable: frozenset[str] | None) -> _Asked:
    """Raises InvalidQuery."""
    parameters = Parameters(request.query, KNOWN)
    order = parameters.one("order", choice(_ORDERS), ACTIVE)
    since = parameters.one("updated_since", parse_moment, _LONG_AGO)
    statuses = parameters.several("status", choice(_STATUSES), len(_STATUSES))
    limit = parameters.one("limit", whole(1, MOST), LIMIT)
    sources = parameters.sources(readable, MOST_SOURCES)
    wanted = frozenset(_STATUSES.values()) if statuses is None else statuses
    digest = _digest(order, since.isoformat(), *sorted(map(str, wanted)), *sorted(parameters.all("source")))
    place = parameters.one("cursor", lambda text: _parse_place(text, digest), _FIRST[order])
    parameters.check()
    return _Asked(order, sources, wanted, max(since, _LONG_AGO), limit, place, parameters, digest)


def _rows(db: Transactions, asked: _Asked) -> list[tuple[Any, ...]]:
    return db.fetch(
        _STATEMENTS[asked.order],
        None if asked.sources is None else list(asked.sources),
        list(asked.statuses),
        asked.since,
        *asked.place,
        asked.limit + 1,
    )


def _answer(request: Request, asked: _Asked, rows: Sequence[tuple[Any, ...]]) -> Response:
    """Raises FeedStarting."""
    states = len(feed.STATE_COLUMNS)
    state = feed.state_of(rows[0][:states])
    undated_from, edge_id, edge_source = rows[0][states : states + 3]
    if undated_from is not None:
        raise FeedStarting(
            "The conversations of an older version get their places in lists; ask again in some seconds."
        )
    found = [row[states + 3 :] for row in rows if row[states + 3] is not None]
    items = [_item(row) for row in found[: asked.limit]]
    following = None
    if len(found) > asked.limit:
        last = found[asked.limit - 1]
        following = _next(asked, _Place(items[-1].active_at, items[-1].id, last[1]))
    elif edge_id is not None:
        following = _next(asked, _Place(EPOCH, edge_id, edge_source))
    body = msgspec.json.encode(ConversationList(items, following, state.last.text()))
    # Any change anywhere moves the feed's end: a list that a reader has already is the same without it.
    return answer_unless_known(
        request, tag(msgspec.json.encode((items, following))), Response(200, body, headers=links(following))
    )


def _item(row: Sequence[Any]) -> ListedConversation:
    key, _, source, status, created_at, updated_at, active_at, due_at, *last = row
    message_id, kind, position, timestamp, excerpt = last
    message = None
    if message_id is not None:
        truncated = len(excerpt) > EXCERPT_CHARS
        shown = excerpt[: EXCERPT_CHARS - 1] + "…" if truncated else excerpt
        message = LastMessage(message_id, MessageKind(kind).name, shown, truncated, timestamp, position)
    return ListedConversation(key, source, Status(status).name, created_at, updated_at, active_at, due_at, message)


def _next(asked: _Asked, place: _Place) -> str:
    key = UUID(place.id).bytes
    cursor = packed(_FORM, _VERSION, asked.digest, to_us(place.active_at), key, place.source_id)
    return f"/conversations/?{asked.parameters.but(cursor=cursor)}"


def _parse_place(text: str, digest: bytes) -> _Place:
    """Read what `_next` made. Raises ValueError."""
    try:
        version, made_for, moment_us, key, source_id = unpacked(_FORM, text)
        active_at = from_us(moment_us)
    except (ValueError, OverflowError):
        raise ValueError("is no cursor of this list") from None
    if version != _VERSION:
        raise ValueError("is no cursor of this list")
    if made_for != digest:
        raise ValueError("belongs to a list with other parameters; only `limit` may change between pages")
    return _Place(active_at, str(UUID(bytes=key)), source_id)


def _digest(*parts: str) -> bytes:
    return blake2b("\n".join(parts).encode(), digest_size=4).digest()


OPERATION = Operation(
    "GET",
    "/conversations/",
    "list_conversations",
    "List the conversations",
    (
        Success(200, "A page of the list.", ConversationList, headers=("ETag", "Link")),
        Success(304, "Nothing has changed.", headers=("ETag",)),
    ),
    (*READ_PROBLEMS, INVALID_QUERY, lists_starting(STARTING)),
    "List all pages, then follow `GET /changes/` from the first page's `changes` on: nothing is missed.",
    (
        Parameter("source", {"type": "string"}, "The conversations of this source alone.", is_repeatable=True),
        Parameter("status", {"enum": list(_STATUSES)}, "Those with this status alone.", is_repeatable=True),
        Parameter("updated_since", {"type": "string"}, "What changed at this moment or later."),
        Parameter("order", {"enum": list(_ORDERS), "default": ACTIVE}, "The newest first, or the order of the ids."),
        Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT}, "The most in a page."),
        Parameter("cursor", {"type": "string"}, "From `next`."),
        IF_NONE_MATCH,
    ),
    scope="read",
)
