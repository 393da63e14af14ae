"""`GET /changes/` as a stream: each reader reads on by itself until it is at the end, and then follows the tail.

A reader that takes its bytes too slowly stops following, and reads on from its own place when it has taken them:
nothing is buffered for it but one portion. An idle stream has no greenlet; what it needs from time to time is done for
all of them by one.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog
from prometheus_client import Gauge

from realmate.feed.cursors import Cursor
from realmate.feed.reading import Expired, FeedStarting, Filter, Page
from realmate.http_server import MemoryExhausted, Stream, Streaming
from realmate.http_server.readers import readers
from realmate.query.event_stream import COMMENT, CONTENT_TYPE, frame, heartbeat, notice, retry
from realmate.query.tail import LOOK_PAUSE_S, Tail
from realmate.runtime.database import is_outage
from realmate.runtime.greenlets import spawn, spawn_after
from realmate.runtime.health import health
from realmate.runtime.settings import Settings
from realmate.runtime.transaction import Transactions
from realmate.sources.tokens import Holder

MOST_UNSENT_BYTES = 65_536
"""A reader with more than that on its way to it does not follow, but reads on when it has taken that."""
PORTION_BYTES = 262_144
READERS_AT_ONCE = 4
"""How many readers of the past ask Postgres at the same time."""
SILENCE_S = 15.0
"""After so long without an event there is a heartbeat, for proxies, and so that a reader's place moves."""
CARE_PAUSE_S = 0.25
OUTAGE_PAUSE_S = 1.0
RETRY_MS = 2_000
RETRY_AFTER_DRAIN_MS = 3_000
"""The most that a reader waits before it connects again: readers do not all come back at once."""
DRAIN_SHARE = 0.8
"""The part of DRAIN_DELAY_S over which streams end."""

BEHIND = Gauge(
    "realmate_feed_streams_behind", "Streams that read the past, or read slowly", multiprocess_mode="livesum"
)

log = structlog.get_logger(__name__)


Read = Callable[[Cursor], Page | Expired]
"""Reads the next portion for one reader from the database. Raises FeedStarting, MemoryExhausted, and what an outage
raises."""


class Reader:
    """The reader of one stream."""

    def __init__(self, streams: Streams, stream: Stream, asked: Asked) -> None:
        self.cursor = asked.start
        self.wanted = asked.wanted
        self.read = asked.read
        self.ends_at: float | None = None
        """When the stream is to end, since the process drains."""
        self.follows = False
        self.is_being_read_for = False
        """Whether a portion for it is on its way. A second one at the same time would be the same one."""
        self._holder = asked.holder
        self._streams = streams
        self._stream = stream
        self._sent_at = time.monotonic()
        self.was_at_the_end = False
        """Whether the reader was told that it has caught up."""
        self._probes = 0
        stream.on_drained = self._drained
        stream.on_half_closed = self._probe
        stream.on_ended = self._ended

    @property
    def may_take_more(self) -> bool:
        return self._stream.is_open and self._stream.unsent_bytes <= MOST_UNSENT_BYTES

    def take(self, data: bytes, cursor: Cursor) -> None:
        """Send what comes next for this reader: all up to the cursor."""
        self.cursor = cursor
        if data:
            self._sent_at = time.monotonic()
            self._stream.send(data)

    def push(self, data: bytes, cursor: Cursor) -> None:
        self.take(data, cursor)
        if not self.may_take_more:
            self._stop_following()

    def read_on(self) -> None:
        self._stop_following()
        self._streams.schedule(self)

    def follow(self) -> None:
        """All up to the tail's end is told. The tail tells the rest."""
        if not self.was_at_the_end:
            self.was_at_the_end = True
            self.take(notice("caught_up", self.cursor), self.cursor)
        if self._stream.is_open:
            self.follows = True
            self._streams.tail.follow(self)

    def reset(self, found: Expired) -> None:
        """Say that something is missing, and go on from now."""
        self.take(notice("reset", found.last, code="cursor_expired", oldest=found.oldest.text()), found.last)

    def care(self, now: float, end: Cursor | None, *, tokens_changed: bool) -> None:
        """Do what a stream needs from time to time."""
        if tokens_changed and readers.admit(self._stream.request, "read") != self._holder:
            self._stream.end()
        elif self.ends_at is not None and now >= self.ends_at:
            self._stream.send(retry(random.randint(0, RETRY_AFTER_DRAIN_MS)))  # noqa: S311 (this is no cryptography)
            self._stream.end()
        elif self._stream.unsent_bytes:
            pass  # it has something to take
        elif self._probes > 0:
            self._probes -= 1
            self.take(COMMENT, self.cursor)
        elif now - self._sent_at >= SILENCE_S:
            if self.follows and end is not None:
                self.take(heartbeat(end), end)
            else:
                self.take(COMMENT, self.cursor)

    def _drained(self) -> None:
        if not self.follows:
            self._streams.schedule(self)

    def _probe(self) -> None:
        """Find out whether the client is gone, or reads on: if it is gone, the second piece cannot be sent."""
        self._probes = 2

    def _ended(self) -> None:
        self._stop_following()
        self._streams.forget(self)

    def _stop_following(self) -> None:
        self.follows = False
        self._streams.tail.unfollow(self)


class Asked(NamedTuple):
    """What the reader of a stream asks for, and who it is."""

    start: Cursor
    wanted: Filter
    holder: Holder
    read: Read


class Streams:
    """The streams of one process."""

    def __init__(self, tail: Tail) -> None:
        self.tail = tail
        self._readers: dict[Reader, None] = {}
        self._behind: dict[Reader, None] = {}
        """The readers that are to read on, in the order of their turns."""
        self._reading = 0

    def open(self, db: Transactions, settings: Settings, asked: Asked) -> Streaming:
        """Return the stream of what comes behind a cursor."""

        def follow(stream: Stream) -> None:
            reader = Reader(self, stream, asked)
            if not self._readers:
                spawn(self._care, settings.drain_delay_s)
            self._readers[reader] = None
            self.tail.enter(db)
            reader.take(retry(RETRY_MS), asked.start)
            self.schedule(reader)

        return Streaming(CONTENT_TYPE, follow, headers=(("X-Accel-Buffering", "no"),))

    def schedule(self, reader: Reader) -> None:
        """Let this reader read on as soon as it is its turn, unless it does already: then it goes on by itself."""
        if reader.is_being_read_for:
            return
        self._behind[reader] = None
        if self._reading < READERS_AT_ONCE:
            self._reading += 1
            spawn(self._work)

    def forget(self, reader: Reader) -> None:
        """The stream of this reader is over."""
        self._behind.pop(reader, None)
        if reader in self._readers:
            del self._readers[reader]
            self.tail.leave()

    def _work(self) -> None:
        try:
            while self._behind:
                reader = next(iter(self._behind))
                del self._behind[reader]
                if reader.may_take_more and not reader.follows:
                    reader.is_being_read_for = True
                    try:
                        self._read_on(reader)
                    finally:
                        reader.is_being_read_for = False
        finally:
            self._reading -= 1

    def _read_on(self, reader: Reader) -> None:
        """Give this reader one portion, and let it follow if that was all."""
        pause_s = 0.0
        try:
            if self.tail.covers(reader.cursor):
                data, cursor, is_all = self.tail.read(reader.cursor, reader.wanted, PORTION_BYTES)
                reader.take(data, cursor)
                if is_all and reader.may_take_more:
                    if reader.was_at_the_end or self.tail.is_at_the_end:
                        reader.follow()
                        return
                    pause_s = LOOK_PAUSE_S
            else:
                pause_s = self._read_past(reader)
        except (FeedStarting, MemoryExhausted):
            pause_s = OUTAGE_PAUSE_S
        except Exception as error:
            if not is_outage(error):  # of one reader: the others go on
                log.exception("a stream cannot go on", cursor=reader.cursor.text())
            pause_s = OUTAGE_PAUSE_S
        if reader.may_take_more:  # else it says when it has taken all
            spawn_after(pause_s, self.schedule, reader)

    def _read_past(self, reader: Reader) -> float:
        """Give this reader a portion from the database. Return how long it pauses then: the tail may be a little behind
        what it has read."""
        found = reader.read(reader.cursor)
        if isinstance(found, Expired):
            reader.reset(found)
            return 0
        reader.take(b"".join([frame(event, cursor) for event, cursor in found.told]), found.cursor)
        if not found.caught_up:
            return 0
        return LOOK_PAUSE_S if self.tail.end is not None else OUTAGE_PAUSE_S

    def _care(self, drain_delay_s: float) -> None:
        """Look after all streams, as long as there are any."""
        revision = readers.revision
        while self._readers:
            time.sleep(CARE_PAUSE_S)
            now, before, revision = time.monotonic(), revision, readers.revision
            BEHIND.set(sum(not reader.follows for reader in self._readers))
            for reader in list(self._readers):
                if health.draining and reader.ends_at is None:
                    reader.ends_at = now + random.uniform(0, DRAIN_SHARE * drain_delay_s)  # noqa: S311 (the same)
                try:
                    reader.care(now, self.tail.end, tokens_changed=revision is not before)
                except Exception:
                    log.exception("a stream could not be looked after")
