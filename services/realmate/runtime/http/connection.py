"""One client's connection: a state machine that eventlet's hub drives by callbacks.

A greenlet for each connection would cost a switch and two epoll_ctl for each request; callbacks, registered once, cost
neither. The price: nothing here may block or switch, so every send and receive is a direct, non-blocking one.

Its laws:

- Requests of one connection are worked on strictly one after the other, in order: a POST must not overtake another
  (RFC 9112, 9.3.2). Pipelined ones wait here.
- What waits is bounded: reading stops while many requests wait, or while the client does not read its answers.
- Every request gets exactly one answer, unless the client is gone.
- No answer is lost in a reset: the write side is shut first, and what still comes is discarded for a moment.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from typing import Any, Protocol

import eventlet.hubs
import structlog

from realmate.runtime.http import observation
from realmate.runtime.http.answers import CONTINUE, encode, encode_or_fail
from realmate.runtime.http.parser import RequestParser
from realmate.runtime.http.request import Request, choose_request_id
from realmate.runtime.settings import Settings
from realmate.wire.responses import Response

RECV_BYTES = 65_536
MAX_PIPELINED = 16
"""Reading stops while this many requests wait on one connection."""
MAX_UNSENT_BYTES = 65_536
"""No further request of a connection is started, nor read, while it has more than this to send."""
LINGER_S = 1.0
LINGER_BYTES = 2_097_152

log = structlog.get_logger(__name__)


class Owner(Protocol):
    """The server, as its connections see it."""

    settings: Settings

    @property
    def draining(self) -> bool:
        """True while the process stops: connections are to be left behind, at the next answer."""

    def admit(self, request: Request, announced_bytes: int | None) -> Response | int:
        """As `parser.Admit`."""

    def take(self, request: Request, connection: Connection) -> Response | None:
        """Answer at once, or return None and let `connection.answer(request, …)` follow. Never blocks."""

    def forget(self, connection: Connection) -> None:
        """The connection is closed."""


def _ignore(_error: BaseException) -> None:
    """What the hub would throw into a greenlet whose descriptor was closed under it. Ours deregister before closing."""


class Connection:
    def __init__(self, client: socket.socket, owner: Owner) -> None:
        self._socket = client
        self._fd = client.fileno()
        self._owner = owner
        self._hub: Any = eventlet.hubs.get_hub()
        self._reader: Any = None  # the hub's listener while we read, else None
        self._writer: Any = None  # the same while unsent bytes wait for the client
        settings = owner.settings
        self._parser = RequestParser(
            max_head_bytes=settings.http_max_head_bytes,
            max_body_bytes=settings.http_max_body_bytes,
            admit=owner.admit,
        )
        self._waiting: deque[Request] = deque()
        self._at_work: Request | None = None
        self._unsent = bytearray()
        self._moved_at = time.monotonic()  # when an answer last began, or a byte of it last left
        self._eof = False
        self._ending = False  # no request is started any more; when all is sent, linger
        self._lingers_until: float | None = None
        self._discarded_bytes = 0
        self._closed = False
        self._regulate_reading()

    @property
    def is_idle(self) -> bool:
        """True between two requests, with nothing to read, to do or to send."""
        return not (self._at_work or self._waiting or self._unsent or self._ending or self._parser.began_at)

    @property
    def owes(self) -> bool:
        """True while a request arrives or has no answer yet, or its answer is not safely with the client."""
        return not self._closed and not self.is_idle

    def answer(self, request: Request, response: Response) -> None:
        """Answer the request at work. An answer to any other (a killed worker's second thoughts) goes nowhere."""
        if request is self._at_work:
            self._write_answer(request, response)
            self._advance()

    def refuse(self, response: Response, request: Request | None = None) -> None:
        """Answer what is no request, or one that is not wanted, and close."""
        request_id = choose_request_id(None) if request is None else request.request_id
        is_head = request is not None and request.method == "HEAD"
        self._send(encode(response, request_id, connection="close", with_body=not is_head))
        self._end()

    def drain(self) -> None:
        """Close if idle. Else the answers under way will be the last: `owner.draining` says so."""
        if self.is_idle:
            self._on_readable(self._fd)  # a request may have come in this very moment
        if self.is_idle:
            self.close()

    def expire(self, now: float) -> None:
        """Enforce the time limits; the server's reaper calls this about once a second."""
        settings = self._owner.settings
        began_at = self._parser.began_at
        if self._lingers_until is not None:
            if now > self._lingers_until:
                self.close()
        elif self._unsent:
            if now - self._moved_at > settings.http_read_timeout_s:
                observation.rejected("slow_reader")
                self.close()
        elif began_at is not None and self._reader is not None:
            if now - began_at > settings.http_read_timeout_s:
                self._parser.time_out()
                self._advance()
        elif self.is_idle and now - self._moved_at > settings.http_idle_timeout_s:
            self.close()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = self._ending = True
        self._at_work = None
        self._waiting.clear()
        self._unsent.clear()
        self._stop_reading()
        if self._writer is not None:
            self._hub.remove(self._writer)
        self._socket.close()
        self._owner.forget(self)

    def _on_readable(self, _fd: int) -> None:
        try:
            self._receive()
        except Exception as error:  # noqa: BLE001 (logged there)
            self._fail(error)

    def _on_writable(self, _fd: int) -> None:
        try:
            self._flush()
        except Exception as error:  # noqa: BLE001 (logged there)
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        """End this connection, so that a bug ends no more than that: the hub would leave it half open."""
        log.error("connection failed", exc_info=error)
        self.close()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(RECV_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self._on_eof()
        elif self._lingers_until is not None:
            self._discard(len(data))
        else:
            self._waiting.extend(self._parser.feed(data, time.monotonic()))
            self._advance()

    def _on_eof(self) -> None:
        """The client sends no more; it may still read (a half-close), so what is under way gets its answers."""
        self._eof = True
        if self._lingers_until is not None or self.is_idle:
            self.close()
        else:
            self._advance()

    def _advance(self) -> None:
        """Do what can be done now: start the next request, or, after the last, see how the connection goes on."""
        while self._waiting and self._at_work is None and len(self._unsent) <= MAX_UNSENT_BYTES:
            request = self._at_work = self._waiting.popleft()
            response = request.refusal or self._owner.take(request, self)
            if response is not None:
                self._write_answer(request, response)
        if self._at_work is None and not self._waiting and not self._ending:
            self._go_on()
        self._regulate_reading()

    def _go_on(self) -> None:
        if self._parser.refusal is not None:
            observation.refused(self._parser.refusal.status)
            self.refuse(self._parser.refusal, self._parser.refused)
        elif self._eof:
            self._end()
        elif self._parser.awaits_continue:
            self._parser.awaits_continue = False
            self._parser.began_at = time.monotonic()  # the sender's time runs from our leave to send
            self._send(CONTINUE)

    def _write_answer(self, request: Request, response: Response) -> None:
        self._at_work = None
        self._moved_at = time.monotonic()
        keep_alive = request.keep_alive and (bool(self._waiting) or not self._owner.draining)
        connection = None if keep_alive else "close"
        if keep_alive and request.version == "1.0":
            connection = "keep-alive"
        self._send(encode_or_fail(response, request, connection))
        if not keep_alive:
            self._end()

    def _send(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        if sent < len(data):
            self._unsent += memoryview(data)[sent:]
            self._writer = self._hub.add(self._hub.WRITE, self._fd, self._on_writable, _ignore, None)

    def _flush(self) -> None:
        if self._closed:
            return  # closed by its other callback in the same turn of the hub
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        self._moved_at = time.monotonic()
        del self._unsent[:sent]
        if self._unsent:
            return
        self._hub.remove(self._writer)
        self._writer = None
        if self._ending:
            self._linger()
        else:
            self._advance()

    def _end(self) -> None:
        """Close in order, as soon as everything is sent."""
        self._ending = True
        self._waiting.clear()
        if not self._unsent and not self._closed:
            self._linger()

    def _linger(self) -> None:
        """Wait a moment for the client's close. Closing at once, with bytes unread, would reset the connection, and a
        reset throws the answer away that the client has not read yet (RFC 9112, 9.6)."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._lingers_until = time.monotonic() + LINGER_S
        if self._eof:
            self.close()
        self._regulate_reading()

    def _discard(self, received_bytes: int) -> None:
        self._discarded_bytes += received_bytes
        if self._discarded_bytes > LINGER_BYTES:
            self.close()

    def _regulate_reading(self) -> None:
        """Read exactly while there is room for what comes; where reading pauses, the sender's clock does too."""
        if self._wants_input():
            if self._reader is None:
                self._reader = self._hub.add(self._hub.READ, self._fd, self._on_readable, _ignore, None)
                if self._parser.began_at is not None:
                    self._parser.began_at = time.monotonic()
        else:
            self._stop_reading()

    def _wants_input(self) -> bool:
        if self._closed or self._eof:
            return False
        if self._ending:
            return self._lingers_until is not None
        return (
            len(self._waiting) < (1 if self._owner.draining else MAX_PIPELINED)
            and len(self._unsent) <= MAX_UNSENT_BYTES
            and self._parser.refusal is None
            and not self._parser.finished
        )

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._hub.remove(self._reader)
            self._reader = None
