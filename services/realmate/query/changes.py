"""`GET /changes/`: pages of the feed, and a long poll for the next one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

import msgspec

from realmate.http_server import Request
from realmate.http_server.readers import readers
from realmate.http_server.response_memory import Reservations
from realmate.query import feed
from realmate.query.cursors import Cursor, parse_cursor
from realmate.query.feed import EVENT_TYPES, PAGE_BYTES, Event, Expired, FeedStarting, Filter, Page
from realmate.query.parameters import InvalidQuery, Parameters, choice, number, whole
from realmate.query.tail import Tail
from realmate.runtime.database import patiently
from realmate.runtime.health import health
from realmate.runtime.settings import Settings
from realmate.runtime.transaction import Transactions
from realmate.wire.ids import parse_uuid
from realmate.wire.responses import Response, problem

KNOWN = ("after", "limit", "wait", "source", "type", "conversation")
LIMIT, MOST = 100, 1_000
LONGEST_WAIT_S = 30.0
MOST_CONVERSATIONS = 100
MOST_SOURCES = 100
_TYPES: Mapping[str, str] = {each: each for each in EVENT_TYPES}
OLDEST = "oldest"


class _Answer(msgspec.Struct):
    items: list[Event]
    cursor: str
    caught_up: bool


class _Asked(msgspec.Struct):
    after: Cursor | str | None
    """A cursor, OLDEST, or None: from now on."""
    wanted: Filter
    limit: int
    wait_s: float


def answer(tail: Tail, db: Transactions, room: Reservations, settings: Settings, request: Request) -> Response:
    """Return the page that the request asks for, as soon as there is one. Raises what an outage raises."""
    reader = readers.admit(request, "read")
    if isinstance(reader, Response):
        return reader
    try:
        asked = _asked(request, reader.sources)
        return _page(db, tail, room, settings, asked, until=request.arrived_at + asked.wait_s)
    except InvalidQuery as error:
        return error.response
    except FeedStarting as error:
        return problem(503, "feed_starting", str(error), headers=(("Retry-After", "5"),))


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
                return _expired(found)
            if found.events or not found.caught_up or time.monotonic() >= until or health.draining:
                return _encoded(found)
        after = found.cursor
        tail.wait(db, after, asked.wanted, until)


def _read(
    db: Transactions, asked: _Asked, after: Cursor | str | None, limit_bytes: int, _attempt: int
) -> Page | Expired:
    if not isinstance(after, Cursor):
        after = feed.oldest(db) if after == OLDEST else feed.state(db).last
    return feed.read(db, after, asked.wanted, asked.limit, limit_bytes)


def _encoded(page: Page) -> Response:
    body = msgspec.json.encode(_Answer(page.events, page.cursor.text(), page.caught_up))
    return Response(200, body)


def _expired(found: Expired) -> Response:
    detail = "What came after this cursor is not kept any more. List the conversations anew, or go on from `oldest`."
    return problem(410, "cursor_expired", detail, oldest=found.oldest.text())


def _asked(request: Request, readable: frozenset[str] | None) -> _Asked:
    """Raises InvalidQuery. `readable` are the sources that the reader may read; None: all."""
    parameters = Parameters(request.query, KNOWN)
    after = parameters.one("after", _after, None)
    limit = parameters.one("limit", whole(1, MOST), LIMIT)
    wait_s = parameters.one("wait", number(0, LONGEST_WAIT_S), 0.0)
    sources = parameters.sources(readable, MOST_SOURCES)
    types = parameters.several("type", choice(_TYPES), len(_TYPES))
    conversations = parameters.several("conversation", parse_uuid, MOST_CONVERSATIONS)
    parameters.check()
    return _Asked(after, Filter(sources, conversations, types), limit, wait_s)


def _after(text: str) -> Cursor | str | None:
    return OLDEST if text == OLDEST else parse_cursor(text)
