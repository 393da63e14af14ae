"""The pieces of a stream of server-sent events (WHATWG HTML, 9.2.6), and what only streams say.

Changes come as plain messages, so that `onmessage` gets them all; what is about the stream itself has a name. A cursor
is the `id`, which a browser sends back as `Last-Event-ID`. JSON has no line breaks of its own.
"""

from __future__ import annotations

import msgspec

from realmate.feed.cursors import Cursor
from realmate.feed.events import Event

CONTENT_TYPE = "text/event-stream; charset=utf-8"
COMMENT = b":\n\n"


def frame(event: Event, cursor: Cursor) -> bytes:
    """Return an event of the feed."""
    return b"id: %b\ndata: %b\n\n" % (cursor.text().encode(), msgspec.json.encode(event))


def notice(name: str, cursor: Cursor, **data: str) -> bytes:
    """Return an event that is about the stream itself."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name.encode(), cursor.text().encode(), msgspec.json.encode(data))


def heartbeat(cursor: Cursor) -> bytes:
    """Return a comment, and an id without data: it is told to nobody, and moves the place to go on from."""
    return b":\nid: %b\n\n" % cursor.text().encode()


def retry(after_ms: int) -> bytes:
    """Tell the client when to connect again."""
    return b"retry: %d\n\n" % after_ms
