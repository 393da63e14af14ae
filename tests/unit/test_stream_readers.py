"""The readers of streams: each is given its portions one after the other."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import eventlet

from realmate.feed.cursors import Cursor
from realmate.feed.events import Event
from realmate.feed.reading import Filter, Page, Told
from realmate.query.streams import Asked, Reader, Streams
from realmate.query.tail import Tail
from realmate.sources.tokens import Holder

AT = datetime(2026, 11, 27, tzinfo=UTC)


class Client:
    """A stream whose client takes everything at once."""

    def __init__(self) -> None:
        self.is_open = True
        self.unsent_bytes = 0
        self.sent = b""
        self.request = None
        self.on_drained: Any = None
        self.on_half_closed: Any = None
        self.on_ended: Any = None

    def send(self, data: bytes) -> None:
        self.sent += data


def test_a_reader_that_has_taken_all_meanwhile_gets_no_portion_twice() -> None:
    """The client takes what was sent before, while the next portion is read from the database."""
    client = Client()

    def read(cursor: Cursor) -> Page:
        client.on_drained()
        eventlet.sleep(0.01)
        if cursor.position == 3:
            client.is_open = False
        end = Cursor(cursor.position + 1, AT, 0)
        told = Told(Event(f"evt_{end.position}", "conversation.opened", AT, "default", "c", {}), end)
        return Page([told], end, caught_up=False, start=cursor, marks={})

    streams = Streams(Tail())
    asked = Asked(Cursor(0, AT, 0), Filter(), Holder("anyone", frozenset()), read)
    stream: Any = client  # it is all that a reader uses of one
    streams.schedule(Reader(streams, stream, asked))
    eventlet.sleep(0.3)
    told = [line for line in client.sent.decode().splitlines() if line.startswith("data: ")]
    assert [line.partition('"id":"')[2].partition('"')[0] for line in told] == [f"evt_{n}" for n in (1, 2, 3, 4)]
