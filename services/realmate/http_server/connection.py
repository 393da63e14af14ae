"""One client's connection: a state machine that eventlet's hub drives by callbacks.

A greenlet for each connection would cost a switch and two epoll_ctl for each request; callbacks, registered once, cost
neither. The price: nothing here may block or switch, so every send and receive is a direct, non-blocking one.

Its laws:

- Requests of one connection are worked on strictly one after the other, in order: a POST must not overtake another
  (RFC 9112, 9.3.2). Pipelined ones wait here.
- What waits is bounded: reading stops while many requests wait, or while the client does not read its answers.
- What it holds is counted in the budget of the process, and it reads nothing for which there is no room there.
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

from realmate.http_server import metrics
from realmate.http_server.budget import SMALL_BYTES, ByteBudget
from realmate.http_server.known_heads import KnownHeads
from realmate.http_server.parser import RequestParser
from realmate.http_server.rejections import NO_ROOM, TIMED_OUT, TOO_MANY_CONNECTIONS
from realmate.http_server.request import Request, choose_request_id
from realmate.http_server.responses import CONTINUE, encode, encode_or_fail
from realmate.http_server.routes import Routes
from realmate.http_server.send_buffer import SendBuffer
from realmate.http_server.streams import Stream
from realmate.runtime.settings import Settings
from realmate.wire.responses import Response

RECV_BYTES = 65_536
"""Read at a time of a body whose room is taken; of anything else no more than `SMALL_BYTES`."""
MAX_WAIT_FOR_ROOM_S = 5.0
"""The longest wait for room. After it the response is a 503.

Reading pauses meanwhile, and so does the sender's time limit.
"""
HOLDING_S = 2.0
HOLDING_BYTES_PER_S = 1_048_576
"""While others wait for room, so slow may a sender or a reader be, after the first HOLDING_S. Slower ones are given up,
or whoever half sends bodies would shut out all who send whole ones."""
MAX_PIPELINED = 16
"""Reading stops while this many requests wait on one connection."""
MAX_UNSENT_BYTES = 65_536
"""The most bytes that wait to be sent. Beyond them no further request of the connection is read or started."""
LINGER_S = 1.0
GUEST_S = 1.0
LINGER_BYTES = 2_097_152

log = structlog.get_logger(__name__)


class Owner(Protocol):
    """The server, as its connections see it."""

    settings: Settings
    budget: ByteBudget
    known_heads: KnownHeads
    routes: Routes

    @property
    def draining(self) -> bool:
        """Whether the process stops. Each response is then the last of its connection."""

    def admit(self, request: Request, announced_bytes: int | None) -> Response | int:
        """Decide by the head, like `parser.Admit`."""

    def admit_guest(self, request: Request, announced_bytes: int | None) -> Response | int:
        """Decide by the head, for a connection beyond the limit."""

    def forget(self, connection: Connection) -> None:
        """The connection is closed."""


def _ignore(_error: BaseException) -> None:
    """Ignore what the hub throws when a descriptor was closed under a greenlet. Ours deregister before they close."""


class Connection:
    def __init__(self, client: socket.socket, owner: Owner, peer: str, *, is_guest: bool = False) -> None:
        """A guest is beyond the limit of connections: it may ask for the process's health, once and soon."""
        self.peer = peer
        self._is_guest = is_guest
        self._socket = client
        self._fd = client.fileno()
        self._owner = owner
        self._budget = owner.budget
        self._hub: Any = eventlet.hubs.get_hub()
        self._reader: Any = None  # the hub's listener while we read, else None
        self._writer: Any = None  # the same while unsent bytes wait for the client
        settings = owner.settings
        self._parser = RequestParser(
            max_head_bytes=settings.http_max_head_bytes,
            max_body_bytes=settings.http_max_body_bytes,
            admit=owner.admit_guest if is_guest else owner.admit,
            known_heads=owner.known_heads,
            headers=owner.routes.headers,
        )
        self._waiting: deque[Request] = deque()
        self._at_work: Request | None = None
        self._stream: Stream | None = None  # the response to what is at work, where it is one
        self._unsent = SendBuffer()
        self._sending_since = time.monotonic()
        self._sending_bytes = 0
        self._requests_bytes = 0  # held by what waits and what is at work
        self._held_bytes = 0  # as the budget knows it
        self._has_room = False  # for the whole of the request that is under way
        self._waits_since: float | None = None  # for room
        self._moved_at = time.monotonic()  # when an answer last began, or a byte of it last left
        self._eof = False
        self._ending = False  # no request is started any more; when all is sent, linger
        self._lingers_until: float | None = None
        self._discarded_bytes = 0
        self._closed = False
        self._regulate_reading()

    @property
    def is_idle(self) -> bool:
        """Whether the connection is between two requests and has nothing to read, to do or to send."""
        busy = self._at_work or self._waiting or self._unsent or self._ending or self._waits_since is not None
        return not (busy or self._parser.began_at)

    @property
    def idle_since(self) -> float | None:
        """The moment when it became idle; None where it is not."""
        return self._moved_at if self.is_idle else None

    @property
    def arriving_since(self) -> float | None:
        """The moment when the arriving request began, if the connection does nothing else."""
        return None if self._at_work or self._waiting or self._unsent or self._ending else self._parser.began_at

    def close_for_another(self) -> None:
        """Close, for somebody else, unless a request has come in this very moment."""
        if self.is_idle:
            self.drain()
        elif self.arriving_since is not None:
            metrics.rejected("slow_sender")
            self.reject(TIMED_OUT)
            self.close()

    @property
    def owes(self) -> bool:
        """Whether a request arrives or has no response yet, or its response is not safely with the client."""
        return not self._closed and not self.is_idle

    def respond(self, request: Request, response: Response) -> None:
        """Answer the request at work. An answer to any other (a killed worker's second thoughts) goes nowhere."""
        if request is self._at_work:
            self._write_answer(request, response)
            self._advance()

    def begin(self, request: Request, stream: Stream, head: bytes) -> None:
        """Answer the request at work with a stream, which then owns the connection. If the client is gone, say so."""
        if request is not self._at_work:
            stream.lost()
            return
        self._stream = stream
        self._moved_at = time.monotonic()
        self._send(head)

    @property
    def unsent_bytes(self) -> int:
        return self._unsent.bytes

    def send(self, *pieces: bytes) -> None:
        """Send the next pieces of the stream."""
        if not self._unsent:
            self._moved_at = time.monotonic()
        self._send(*pieces)

    def finish(self) -> None:
        """Close in order behind the stream."""
        self._stream = None
        if self._at_work is not None:
            self._requests_bytes -= self._at_work.held_bytes
            self._at_work = None
            self._end()

    def reject(self, response: Response, request: Request | None = None) -> None:
        """Answer what is no request, or one that is not wanted, and close."""
        request_id = choose_request_id(None) if request is None else request.request_id
        is_head = request is not None and request.method == "HEAD"
        self._send(*encode(response, request_id, connection="close", with_body=not is_head))
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
        if self._is_guest and not self._ending and self._at_work is None and now - self._moved_at > GUEST_S:
            self.reject(TOO_MANY_CONNECTIONS)
        elif self._lingers_until is not None:
            if now > self._lingers_until:
                self.close()
        elif self._unsent:
            if now - self._moved_at > settings.http_read_timeout_s or self._holds_too_long(now):
                metrics.rejected("slow_reader")
                self.close()
        elif self._waits_since is not None or (self._parser.began_at is not None and self._reader is not None):
            self._expire_request(now)
        elif self.is_idle and now - self._moved_at > settings.http_idle_timeout_s:
            self.close()

    def _expire_request(self, now: float) -> None:
        """Enforce the time limits of a request that arrives, or that waits for room."""
        if self._waits_since is not None:
            if now - self._waits_since > MAX_WAIT_FOR_ROOM_S:
                self._give_up()
        elif now - (self._parser.began_at or now) > self._owner.settings.http_read_timeout_s:
            self._parser.give_up(TIMED_OUT)
            self._advance()
        elif self._holds_too_long(now):
            self._give_up()

    def _holds_too_long(self, now: float) -> bool:
        """Whether the client is slow while others wait for the room that it occupies."""
        if not self._budget.is_short:
            return False
        if self._unsent:
            since, expected_bytes = self._sending_since, self._sending_bytes
        else:
            since, expected_bytes = self._parser.began_at or now, self._held_bytes
        return now - since > HOLDING_S + expected_bytes / HOLDING_BYTES_PER_S

    def _give_up(self) -> None:
        """Answer the request that arrives with a 503, since there is no room, or others need it."""
        metrics.rejected("no_room")
        self._stop_waiting()
        self._parser.give_up(NO_ROOM)
        self._advance()

    def close(self) -> None:
        if self._closed:
            return
        self._closed = self._ending = True
        self._at_work = None
        self._waiting.clear()
        self._unsent.clear()
        self._requests_bytes = 0
        self._has_room = False
        self._parser.abandon()
        self._stop_waiting()
        self._count_held()
        self._stop_reading()
        if self._writer is not None:
            self._hub.remove(self._writer)
        self._socket.close()
        self._owner.forget(self)
        if self._stream is not None:
            self._stream.lost()

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

    def resume(self) -> None:
        """The budget has room for what this connection waits for."""
        self._waits_since = None
        try:
            self._advance()
        except Exception as error:  # noqa: BLE001 (logged there)
            self._fail(error)

    def _receive(self) -> None:
        lingers = self._lingers_until is not None
        if self._budget.is_full and not (lingers or self._has_room or self._finds_room(SMALL_BYTES)):
            self._regulate_reading()
            return
        try:
            data = self._socket.recv(RECV_BYTES if lingers or self._has_room else SMALL_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        if not data:
            self._on_eof()
        elif lingers:
            self._discard(len(data))
        else:
            for request in self._parser.feed(data, time.monotonic()):
                self._has_room = False  # that was the room of the first of them
                self._waiting.append(request)
                self._requests_bytes += request.held_bytes
            self._count_held()
            self._advance()

    def _claim_room(self) -> None:
        """Take the room for the rest of the request that arrives, or wait for it."""
        whole_bytes = self._parser.whole_bytes
        if whole_bytes is None or self._has_room or self._waits_since is not None:
            return
        self._has_room = self._finds_room(whole_bytes - self._parser.held_bytes)
        self._count_held()

    def _finds_room(self, wanted_bytes: int) -> bool:
        if self._budget.fits(wanted_bytes):
            return True
        self._waits_since = time.monotonic()
        self._budget.wait(self, wanted_bytes)
        return False

    def _stop_waiting(self) -> None:
        if self._waits_since is not None:
            self._waits_since = None
            self._budget.leave(self)

    def _count_held(self) -> None:
        """Tell the budget what this connection holds now."""
        parser = self._parser
        held = self._requests_bytes + self._unsent.bytes
        if parser.began_at is not None:
            held += max(parser.held_bytes, (parser.whole_bytes or 0) if self._has_room else 0)
        if held != self._held_bytes:
            before, self._held_bytes = self._held_bytes, held
            self._budget.change(before, held)

    def _on_eof(self) -> None:
        """The client sends no more; it may still read (a half-close), so what is under way gets its answers."""
        self._eof = True
        if self._lingers_until is not None or self.is_idle:
            self.close()
        elif self._stream is not None:
            self._regulate_reading()
            self._stream.half_closed()
        else:
            self._advance()

    def _advance(self) -> None:
        """Do what can be done now: start the next request, or, after the last, see how the connection goes on."""
        while self._waiting and self._at_work is None and self._unsent.bytes <= MAX_UNSENT_BYTES:
            request = self._at_work = self._waiting.popleft()
            response = request.rejection or request.handler.submit(request, self)
            if response is not None:
                self._write_answer(request, response)
        if self._parser.began_at is not None and self._parser.rejection is None and not self._closed:
            self._claim_room()
        if self._at_work is None and not self._waiting and not self._ending:
            self._go_on()
        self._regulate_reading()

    def _go_on(self) -> None:
        if self._parser.rejection is not None:
            metrics.rejected_status(self._parser.rejection.status)
            self.reject(self._parser.rejection, self._parser.rejected)
        elif self._eof:
            self._end()
        elif self._parser.awaits_continue and self._has_room:
            self._parser.awaits_continue = False
            self._parser.began_at = time.monotonic()  # the sender's time runs from our leave to send
            self._send(CONTINUE)

    def _write_answer(self, request: Request, response: Response) -> None:
        self._at_work = None
        self._requests_bytes -= request.held_bytes
        self._moved_at = time.monotonic()
        keep_alive = request.keep_alive and not self._is_guest and (bool(self._waiting) or not self._owner.draining)
        connection = None if keep_alive else "close"
        if keep_alive and request.version == "1.0":
            connection = "keep-alive"
        self._send(*encode_or_fail(response, request, connection))
        if not keep_alive:
            self._end()

    def _send(self, *pieces: bytes) -> None:
        try:
            for piece in pieces:
                self._unsent.push(self._socket, piece)
        except OSError:
            self.close()
            return
        if self._unsent.bytes and self._writer is None:
            self._sending_since, self._sending_bytes = time.monotonic(), self._unsent.bytes
            self._writer = self._hub.add(self._hub.WRITE, self._fd, self._on_writable, _ignore, None)
        self._count_held()

    def _send_what_fits(self) -> int:
        try:
            return self._unsent.send(self._socket)
        except OSError:
            self.close()
            return 0

    def _flush(self) -> None:
        if self._closed:
            return  # closed by its other callback in the same turn of the hub
        if self._send_what_fits():
            self._moved_at = time.monotonic()
        if self._closed:
            return
        self._count_held()
        if self._unsent:
            return
        self._hub.remove(self._writer)
        self._writer = None
        if self._ending:
            self._linger()
        elif self._stream is not None:
            self._stream.drained()
        else:
            self._advance()

    def _end(self) -> None:
        """Close in order, as soon as everything is sent."""
        self._ending = True
        self._waiting.clear()
        self._requests_bytes = 0 if self._at_work is None else self._at_work.held_bytes
        self._has_room = False
        self._stop_waiting()
        self._parser.abandon()
        self._count_held()
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
        if self._closed or self._eof:
            wanted = False
        elif self._ending:
            wanted = self._lingers_until is not None
        else:
            wanted = (
                len(self._waiting) < (1 if self._owner.draining else MAX_PIPELINED)
                and self._unsent.bytes <= MAX_UNSENT_BYTES
                and self._waits_since is None
                and self._parser.rejection is None
                and not self._parser.finished
            )
        if not wanted:
            self._stop_reading()
        elif self._reader is None:
            self._reader = self._hub.add(self._hub.READ, self._fd, self._on_readable, _ignore, None)
            if self._parser.began_at is not None:
                self._parser.began_at = time.monotonic()

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._hub.remove(self._reader)
            self._reader = None
