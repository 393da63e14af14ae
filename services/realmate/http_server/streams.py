"""Responses without a known end: a service sends whenever it has something, and the client reads at its own pace.

Nothing here blocks. What the client has not taken waits in the connection; a service looks at `unsent_bytes`, stops
sending when that is much, and goes on when `on_drained` is called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from realmate.http_server.metrics import STREAMS
from realmate.http_server.request import Request

JOINED_BYTES = 16_384
"""The largest piece that is copied, so that it leaves in one call. Streams that send the same larger one share it."""


class StreamSink(Protocol):
    """The connection, as a stream sees it."""

    @property
    def unsent_bytes(self) -> int: ...

    def begin(self, request: Request, stream: Stream, head: bytes) -> None: ...

    def send(self, *pieces: bytes) -> None: ...

    def finish(self) -> None: ...


def _nothing() -> None:
    pass


class Stream:
    """The open response to one request."""

    def __init__(self, connection: StreamSink, request: Request, ended: Callable[[], object]) -> None:
        """`ended` is called once, when the response ends or its client is gone."""
        self.request = request
        self.is_open = True
        self.on_drained: Callable[[], None] = _nothing
        """Called whenever the client has taken all that was sent."""
        self.on_half_closed: Callable[[], None] = _nothing
        """Called when the client sends no more. Whether it still reads, only sending tells."""
        self.on_ended: Callable[[], None] = _nothing
        self._connection = connection
        self._ended = ended
        self._is_chunked = request.version != "1.0"  # a client of 1.0 reads until the connection is closed
        STREAMS.inc()

    @property
    def unsent_bytes(self) -> int:
        """How much waits for the client to take it."""
        return self._connection.unsent_bytes

    def send(self, data: bytes) -> None:
        """Send some bytes, at least one, unless the stream is over."""
        if not self.is_open:
            return
        if not self._is_chunked:
            self._connection.send(data)
        elif len(data) <= JOINED_BYTES:
            self._connection.send(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            self._connection.send(b"%x\r\n" % len(data), data, b"\r\n")

    def end(self) -> None:
        """End the response in order. The connection ends with it."""
        if self.is_open:
            if self._is_chunked and self.request.method != "HEAD":
                self._connection.send(b"0\r\n\r\n")
            self._connection.finish()
            self.lost()

    def drained(self) -> None:
        """The connection calls this when nothing is left to be sent."""
        if self.is_open:
            self.on_drained()

    def half_closed(self) -> None:
        """The connection calls this when the client sends no more."""
        if self.is_open:
            self.on_half_closed()

    def lost(self) -> None:
        """The connection calls this when the client is gone."""
        if self.is_open:
            self.is_open = False
            STREAMS.dec()
            self._ended()
            self.on_ended()


class Streaming(NamedTuple):
    """What a service returns in order to answer with a stream."""

    content_type: str
    follow: Callable[[Stream], None]
    """Called when the head is sent. It must not block."""
    headers: tuple[tuple[str, str], ...] = ()
