"""`GET /changes/`: pages of the feed, a long poll for the next one, and a stream of all that comes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

import msgspec

from realmate.domain.changes import EVENT_TYPES
from realmate.feed import reading as feed
from realmate.feed.cursors import Cursor, parse_cursor
from realmate.feed.events import Event
from realmate.feed.reading import PAGE_BYTES, STARTING, Expired, FeedStarting, Filter, Page
from realmate.http_server import Request, Streaming
from realmate.http_server.rejections import TOO_MANY_WAIT
from realmate.http_server.response_memory import Reservations
from realmate.query.parameters import INVALID_QUERY, Parameters, choice, number, whole
from realmate.query.problems import READ_PROBLEMS, cursor_expired, feed_starting
from realmate.query.streams import PORTION_BYTES, Streams
from realmate.query.streams import Asked as StreamAsked
from realmate.query.tail import Tail
from realmate.runtime.database import patiently
from realmate.runtime.health import health
from realmate.runtime.settings import Settings
from realmate.runtime.transaction import Transactions
from realmate.sources.tokens import Holder
from realmate.wire.ids import parse_uuid
from realmate.wire.openapi import Operation, Parameter, Success
from realmate.wire.responses import Response

STREAM_KNOWN = ("after", "source", "type", "conversation")
KNOWN = (*STREAM_KNOWN, "limit", "wait")
LAST_EVENT_ID = "last-event-id"
HEADERS = ("accept", LAST_EVENT_ID)
LIMIT, MOST = 100, 1_000
LONGEST_WAIT_S = 30.0
MOST_CONVERSATIONS = 100
MOST_SOURCES = 100
_TYPES: Mapping[str, str] = {each: each for each in EVENT_TYPES}
OLDEST = "oldest"


class ChangesPage(msgspec.Struct):
    items: list[Event]
    cursor: str
    caught_up: bool


class _Asked(msgspec.Struct):
    holder: Holder
    is_stream: bool
    after: Cursor | str | None
    """A cursor, OLDEST, or None: from now on."""
    wanted: Filter
    limit: int
    wait_s: float


def answer(  # noqa: PLR0913, PLR0917 (the service's dependencies, and who asks for what)
    streams: Streams, db: Transactions, room: Reservations, settings: Settings, request: Request, holder: Holder
) -> Response | Streaming:
    """Return the page that the request asks for, as soon as there is one, or a stream. Raises InvalidQuery,
    MemoryExhausted, and what an outage raises."""
    asked = _asked(request, holder)
    try:
        if asked.is_stream:
            return _stream(streams, db, room, settings, asked)
        return _page(db, streams.tail, room, settings, asked, until=request.arrived_at + asked.wait_s)
    except FeedStarting as error:
        return feed_starting(str(error))


def _page(  # noqa: PLR0913 (the service's dependencies, and what is asked for)
    db: Transactions, tail: Tail, room: Reservations, settings: Settings, asked: _Asked, *, until: float
) -> Response:
    after = asked.after
    while True:
        deadline = time.monotonic() + settings.command_timeout_s
        limit_bytes = min(PAGE_BYTES, settings.http_max_batch_bytes)
        with room.of(limit_bytes, deadline):
            found = patiently(partial(_read, db, asked, after, limit_bytes), deadline)
            if isinstance(found, Expired):
                return cursor_expired(found.oldest.text())
            if found.events or not found.caught_up or time.monotonic() >= until or health.draining:
                return _encoded(found)
        after = found.cursor
        tail.wait(db, after, asked.wanted, until)


def _stream(streams: Streams, db: Transactions, room: Reservations, settings: Settings, asked: _Asked) -> Streaming:
    limit_bytes = min(PORTION_BYTES, settings.http_max_batch_bytes)

    def read(after: Cursor) -> Page | Expired:
        deadline = time.monotonic() + settings.command_timeout_s
        with room.of(limit_bytes, deadline):
            return patiently(lambda _attempt: feed.read(db, after, asked.wanted, MOST, limit_bytes), deadline)

    deadline = time.monotonic() + settings.command_timeout_s
    start = patiently(lambda _attempt: _start(db, asked.after), deadline)
    return streams.open(db, settings, StreamAsked(start, asked.wanted, asked.holder, read))


def _read(
    db: Transactions, asked: _Asked, after: Cursor | str | None, limit_bytes: int, _attempt: int
) -> Page | Expired:
    return feed.read(db, _start(db, after), asked.wanted, asked.limit, limit_bytes)


def _start(db: Transactions, after: Cursor | str | None) -> Cursor:
    if isinstance(after, Cursor):
        return after
    return feed.oldest(db) if after == OLDEST else feed.state(db).last


def _encoded(page: Page) -> Response:
    body = msgspec.json.encode(ChangesPage(page.events, page.cursor.text(), page.caught_up))
    return Response(200, body)


def _asked(request: Request, holder: Holder) -> _Asked:
    """Raises InvalidQuery."""
    is_stream = "text/event-stream" in request.headers.get("accept", "")
    parameters = Parameters(request.query, STREAM_KNOWN if is_stream else KNOWN)
    after = parameters.one("after", _after, None)
    if is_stream and (
        last_event_id := request.headers.get(LAST_EVENT_ID)
    ):  # a client that comes back is further than where it once began
        after = parameters.header(LAST_EVENT_ID, last_event_id, parse_cursor, after)
    limit = parameters.one("limit", whole(1, MOST), LIMIT)
    wait_s = parameters.one("wait", number(0, LONGEST_WAIT_S), 0.0)
    sources = parameters.sources(holder.sources, MOST_SOURCES)
    types = parameters.several("type", choice(_TYPES), len(_TYPES))
    conversations = parameters.several("conversation", parse_uuid, MOST_CONVERSATIONS)
    parameters.check()
    return _Asked(holder, is_stream, after, Filter(sources, conversations, types), limit, wait_s)


def _after(text: str) -> Cursor | str | None:
    return OLDEST if text == OLDEST else parse_cursor(text)


OPERATION = Operation(
    "GET",
    "/changes/",
    "read_changes",
    "Read what changed, or follow it",
    (
        Success(200, "The events after the cursor.", ChangesPage),
        Success(200, "A stream of them (Accept: text/event-stream).", {"type": "string"}, "text/event-stream"),
    ),
    (*READ_PROBLEMS, INVALID_QUERY, cursor_expired("AQAAAAAAAAAB"), feed_starting(STARTING), TOO_MANY_WAIT),
    "Events of one conversation come in the order of their positions, and each at least once.",
    (
        Parameter("after", {"type": "string"}, "A cursor, or `oldest`. Without it: from now."),
        Parameter("source", {"type": "string"}, "The conversations of this source alone.", is_repeatable=True),
        Parameter("type", {"enum": list(EVENT_TYPES)}, "Events of this type alone.", is_repeatable=True),
        Parameter("conversation", {"type": "string"}, "This conversation alone.", is_repeatable=True),
        Parameter(
            "limit", {"type": "integer", "minimum": 1, "maximum": MOST, "default": LIMIT}, "The most events in a page."
        ),
        Parameter(
            "wait",
            {"type": "number", "minimum": 0, "maximum": LONGEST_WAIT_S, "default": 0},
            "With nothing to tell, the page comes as soon as there is something, or after so many seconds.",
        ),
        Parameter("Last-Event-ID", {"type": "string"}, "In a stream, it goes before `after`.", place="header"),
    ),
    scope="read",
)
