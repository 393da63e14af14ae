"""Bytes in, complete requests out: the HTTP/1 protocol without a socket (the server's half of RFC 9112).

`Connection` feeds it. It rejects what could be read in two ways (request smuggling), what is larger than the limits,
and what it does not speak: then `rejection` holds the answer, and nothing is parsed any more. llhttp (through
httptools) knows the grammar and rejects bad, repeated or contradictory lengths by itself; the rules it leaves to us are
here.

The laws, tested as properties: however the bytes are split, the same requests come out, in order; memory is bounded by
the limits and the size of one piece.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import unquote

import httptools

from realmate.http_server import rejections
from realmate.http_server.known_heads import KnownHead, KnownHeads
from realmate.http_server.request import Request, choose_request_id
from realmate.wire.responses import Response

FRAMING_PER_BODY_BYTE = 6
"""The framing that the worst honest sender needs: a chunk for each byte, `1 CR LF x CR LF`.

More is extensions and trailers.
"""

REQUEST_OVERHEAD_BYTES = 1024
"""The rough size of a request's Python objects, beside its head and body."""
MAX_DROPPED_BYTES = 65_536
"""The body of a request that was rejected at its head is read and dropped up to this size, so that the connection can
be used again. A larger one is not read: the connection is closed after the answer."""

Headers = Mapping[bytes, str]
"""The headers that are kept, by their names in lower case as bytes. All others are counted, and dropped."""

OWN_HEADERS = (
    *("host", "content-length", "content-encoding", "transfer-encoding", "connection", "expect", "x-request-id"),
)
"""The headers that the server itself reads. Whoever reads another one declares it with its route."""


def headers_kept(names: Iterable[str]) -> dict[bytes, str]:
    """Return the headers of these names (in lower case) in the form that the parser needs."""
    return {name.encode(): name for name in names}


Admit = Callable[[Request, int | None], Response | int]
"""The hook that sees a request when its head is complete, with the announced length of its body (None: it comes in
chunks). It returns the response that rejects the request, or the size of the largest body to accept. With 0 the body is
dropped."""

_LONGEST_PROTOCOL = len(" RTSP/")
_NO_HTTP = re.compile(rb" (?:RTSP|ICE)/")
_HOST = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:\[\]%-]*")
_ABSOLUTE = re.compile(r"https?://[^/?]*", re.IGNORECASE)
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class _RejectedError(Exception):
    """Unwinds llhttp from a callback; `RequestParser.rejection` has the answer."""


class RequestParser:
    """The incoming side of one connection. Only llhttp calls the methods `on_…`."""

    def __init__(
        self,
        *,
        max_head_bytes: int,
        max_body_bytes: int,
        admit: Admit | None = None,
        known_heads: KnownHeads | None = None,
        headers: Headers | None = None,
    ) -> None:
        """`known_heads` is shared by parsers with the same limits and headers; `headers` are those to keep."""
        self._kept_headers = headers_kept(OWN_HEADERS) if headers is None else headers
        self._max_head_bytes = max_head_bytes
        self._max_body_bytes = max_body_bytes
        self._admit = admit
        self._known_heads = KnownHeads() if known_heads is None else known_heads
        self._llhttp = httptools.HttpRequestParser(self)
        self._now = 0.0
        self._complete: list[Request] = []  # by the piece that is being parsed
        self.rejection: Response | None = None
        """The response to send after those of the requests before it. Then the connection must close."""
        self._in_request_line = False
        self._request_line_end = b""  # the last bytes of what came of it in earlier pieces
        self.rejected: Request | None = None
        """The request that `rejection` answers, where its head was complete."""
        self.finished = False
        """Whether a request wanted the connection closed. What follows it is ignored."""
        # A sender's requests have one Host, and mostly one target: they are looked at once for each connection.
        self._sane_host: str | None = None
        self._split: tuple[bytes, str, str] = (b"/", "/", "")  # a target, its path, its query
        self._reset()
        self.began_at: float | None = None
        """The moment when the first byte of the current request came; None between requests."""

    @property
    def held_bytes(self) -> int:
        """The bytes that the current request holds so far."""
        if self.began_at is None:
            return 0
        return max(self._head_bytes, min(self._fed_bytes, self._max_head_bytes)) + len(self._body)

    @property
    def whole_bytes(self) -> int | None:
        """The bytes that the current request will hold when it is complete; the limit, if it comes in chunks.

        None while its head is incomplete, and between requests.
        """
        if self._request is None:
            return None
        return self._head_bytes + (self._limit_bytes if self._announced_bytes is None else self._announced_bytes)

    def feed(self, data: bytes, now: float) -> list[Request]:
        """The requests that `data` completes. `now` is time.monotonic()."""
        if self.rejection is not None or self.finished:
            return []
        self._now = now
        is_start = self.began_at is None
        if is_start and (known := self._known_heads.find(data)) is not None:
            return [self._repeat(*known)]
        if self._in_request_line or ((b"RTSP/" in data or b"ICE/" in data) and not self._is_body(data)):
            self._parse_by_lines(data)
        else:
            self._parse(data)
            self._in_request_line = self._in_request_line and self._ends_in_request_line(data)
        if self._in_request_line:
            self._request_line_end = (self._request_line_end + data)[-_LONGEST_PROTOCOL:]
        complete = self._complete
        if complete:
            self._complete = []
            if is_start and self.began_at is None and len(complete) == 1 and self.rejection is None:
                self._known_heads.learn(data, complete[0], self._headers, self._head_bytes)
        elif self.began_at is not None and self.rejection is None:
            self._bound_framing(len(data))
        return complete

    def _repeat(self, head: KnownHead, body: bytes) -> Request:
        """The request of a head that came before, with its new body."""
        request_id = choose_request_id(None)
        request = Request(head.method, head.path, head.query, b"", request_id, self._now, head.headers)
        decision = self._ask(request, head.body_bytes)
        if not isinstance(decision, int):
            request.rejection = decision
        elif decision:
            request.body = body
        request.held_bytes = head.head_bytes + len(request.body) + REQUEST_OVERHEAD_BYTES
        return request

    def give_up(self, rejection: Response) -> None:
        """Reject the request that is under way."""
        self.rejection = self.rejection or rejection
        self.rejected = self.rejected or self._request

    def _parse(self, data: bytes) -> None:
        while True:
            try:
                self._llhttp.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # We offer no other protocol, so Upgrade is to be ignored (RFC 9110, 7.8), but llhttp stops there and
                # skips the body. So the head goes through a new parser once more, without that header.
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self._llhttp = httptools.HttpRequestParser(self)
                continue
            except httptools.HttpParserInvalidMethodError:
                self._stop_at(rejections.UNKNOWN_METHOD)
            except httptools.HttpParserError as error:
                self._stop_at(rejections.malformed(str(error)))
            return

    def _ends_in_request_line(self, data: bytes) -> bool:
        """Whether the last request line that began in `data` goes on in the next piece.

        After its end there is at most the beginning of a header, whose name ends with a colon before any space. (llhttp
        tells of its begin alone.)
        """
        before, _, last_line = data.rpartition(b"\n")
        if not before or not self._target:
            return True
        first_word, space, _ = last_line.partition(b" ")
        return bool(space) and b":" not in first_word

    def _is_body(self, data: bytes) -> bool:
        """Whether the whole piece belongs to the body of the current request."""
        return self._request is not None and (self._announced_bytes or 0) - self._body_bytes >= len(data)

    def _parse_by_lines(self, data: bytes) -> None:
        """Reject the request lines of RTSP and ICE, which llhttp takes. It does not tell the protocol's name, so the
        pieces that may hold one are given to it line by line."""
        for line in data.splitlines(keepends=True):
            self._parse(line)
            if self._in_request_line:
                if _NO_HTTP.search(self._request_line_end + line):
                    self.rejection = self.rejection or rejections.malformed("its request line does not name HTTP")
                if line.endswith(b"\n"):
                    self._in_request_line = False
            if self.rejection is not None:
                return

    def _stop_at(self, rejection: Response) -> None:
        if not self.finished:  # llhttp complains of bytes after `Connection: close`; those are merely ignored
            self.rejection = self.rejection or rejection

    def _bound_framing(self, fed_bytes: int) -> None:
        """Reject a head, chunk extension or trailer that grows without end: llhttp keeps no count of those."""
        self._fed_bytes += fed_bytes
        if self._fed_bytes - FRAMING_PER_BODY_BYTE * self._body_bytes > self._max_head_bytes:
            self.rejection = rejections.head_too_large(self._max_head_bytes)

    def _head_without_upgrade(self) -> bytes:
        lines = [f"{self._method} {self._target.decode('latin-1')} HTTP/{self._version}"]
        lines += [f"{name}: {value}" for name, value in self._headers.items()]  # Upgrade is not among them
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def _reset(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._request: Request | None = None  # from the end of its head on
        self._announced_bytes: int | None = None  # of the body; None for one in chunks
        self._limit_bytes = self._max_body_bytes
        self._body = bytearray()
        self._body_bytes = 0  # those that came, whether they are kept or dropped
        self._in_request_line = False
        self._request_line_end = b""  # the last bytes of what came of it in earlier pieces
        self._head_bytes = 0
        self._fed_bytes = 0  # of the pieces that hold nothing but this request
        self._in_body = False
        self._upgrading = False
        self.awaits_continue = False
        """Whether the sender holds its body back until it sees `100 Continue`."""

    def abandon(self) -> None:
        """Let go of what has come of a request: none is looked at any more."""
        self._body.clear()
        self._request = None
        self.began_at = None

    def _rejecting(self, rejection: Response, request: Request | None = None) -> _RejectedError:
        """Set the rejection, and return the exception to raise: `raise self._rejecting(…)` shows that nothing comes
        after it."""
        self.rejection, self.rejected = rejection, request
        return _RejectedError()

    def on_message_begin(self) -> None:
        self._reset()
        self._in_request_line = True
        self.began_at = self._now

    def on_url(self, piece: bytes) -> None:
        self._target += piece
        self._head_bytes += len(piece)
        if self._head_bytes > self._max_head_bytes:
            raise self._rejecting(rejections.head_too_large(self._max_head_bytes))

    def on_header(self, raw_name: bytes, raw_value: bytes | None) -> None:
        raw_value = raw_value or b""
        self._head_bytes += len(raw_name) + len(raw_value) + 4  # ": " and the line's end
        if self._head_bytes > self._max_head_bytes:
            raise self._rejecting(rejections.head_too_large(self._max_head_bytes))
        if self._in_body:
            return  # a trailer: counted, and dropped, as it must not pass for a header (RFC 9110, 6.5.1)
        name = self._kept_headers.get(raw_name.lower())
        if name is None:
            return
        value = raw_value.strip().decode("latin-1")
        if name not in self._headers:
            self._headers[name] = value
        elif name == "host":
            raise self._rejecting(rejections.malformed("it has more than one Host"))
        else:
            self._headers[name] += f", {value}"

    def on_headers_complete(self) -> None:
        self._in_request_line = False
        self._version = self._llhttp.get_http_version()
        self._method = self._llhttp.get_method().decode("ascii")
        if self._version not in ("1.1", "1.0"):
            raise self._rejecting(rejections.UNKNOWN_VERSION)
        if self._method in ("CONNECT", "SOURCE"):  # SOURCE is Icecast's
            raise self._rejecting(rejections.UNKNOWN_METHOD)
        self._check_host()
        if self._target != self._split[0]:
            self._split = (self._target, *self._split_target(self._target.decode("latin-1")))
        self._check_body()
        self._in_body = True
        self._upgrading = self._llhttp.should_upgrade()
        if not self._upgrading:  # else the head comes again, without the Upgrade: see _parse
            self._finish_head()

    def _finish_head(self) -> None:
        """Ask whether the request is wanted, before its body is read."""
        request_id = choose_request_id(self._headers.get("x-request-id"))
        _, path, query = self._split
        self._request = Request(self._method, path, query, b"", request_id, 0.0, self._headers, "", self._version)
        announced = self._announced_bytes
        decision = self._ask(self._request, announced)
        if isinstance(decision, int):
            self._limit_bytes = decision
            return
        if announced is None or announced > MAX_DROPPED_BYTES or (announced and self.awaits_continue):
            raise self._rejecting(decision, self._request)
        self._request.rejection = decision
        self._limit_bytes = 0

    def _ask(self, request: Request, announced: int | None) -> Response | int:
        """Why the request is rejected by its head, or the size of the largest body that it may have."""
        if self._admit is None:
            return self._max_body_bytes
        decision = self._admit(request, announced)
        if not isinstance(decision, int):
            return decision
        limit_bytes = min(decision, self._max_body_bytes)
        if (announced or 0) <= (limit_bytes or MAX_DROPPED_BYTES):
            return limit_bytes
        return rejections.body_too_large(limit_bytes)

    def _check_host(self) -> None:
        host = self._headers.get("host")
        if host is None:
            if self._version != "1.0":
                raise self._rejecting(rejections.malformed("it has no Host"))
        elif host != self._sane_host:
            if not _HOST.fullmatch(host):
                raise self._rejecting(rejections.malformed("its Host has a character that no host has"))
            self._sane_host = host

    def _split_target(self, target: str) -> tuple[str, str]:
        """Path and query of an origin-form or absolute-form target (RFC 9112, 3.2)."""
        if "#" in target:
            raise self._rejecting(rejections.malformed("its target has a fragment"))
        if not target.startswith("/"):
            target = _ABSOLUTE.sub("", target, count=1)
        path, _, query = target.partition("?")
        return self._decode_path(path) if "%" in path else path or "/", query

    def _decode_path(self, path: str) -> str:
        if _BAD_PERCENT.search(path):
            raise self._rejecting(rejections.malformed("its path has a % that encodes nothing"))
        return unquote(path)  # what is not UTF-8 becomes U+FFFD, and so a path that no route knows

    def _check_body(self) -> None:
        headers = self._headers
        coding = headers.get("transfer-encoding")
        if coding is None:
            self._announced_bytes = int(headers.get("content-length", 0))
            if self._announced_bytes > self._max_body_bytes:
                raise self._rejecting(rejections.body_too_large(self._max_body_bytes))
        else:
            if self._version == "1.0":  # RFC 9112, 6.1: faulty framing, whatever else it says
                raise self._rejecting(rejections.malformed("HTTP/1.0 has no Transfer-Encoding"))
            if coding.lower() != "chunked":
                raise self._rejecting(rejections.UNKNOWN_CODING)
        expectation = headers.get("expect")
        if expectation is not None and self._version != "1.0":
            if expectation.lower() != "100-continue":
                raise self._rejecting(rejections.UNKNOWN_EXPECTATION)
            self.awaits_continue = True

    def on_body(self, piece: bytes) -> None:
        self.awaits_continue = False
        self._body_bytes += len(piece)
        if self._limit_bytes:
            self._body += piece
        if self._body_bytes > (self._limit_bytes or MAX_DROPPED_BYTES):
            raise self._rejecting(rejections.body_too_large(self._limit_bytes), self._request)

    def on_message_complete(self) -> None:
        if self._upgrading:
            return  # it comes again, without the Upgrade: see _parse
        self.began_at = None
        self.awaits_continue = False
        request = self._request
        if request is None:
            raise AssertionError("a message is complete after its head")
        body = request.body = bytes(self._body)
        request.held_bytes = self._head_bytes + len(body) + REQUEST_OVERHEAD_BYTES
        request.arrived_at = self._now
        request.keep_alive = self._llhttp.should_keep_alive()
        self.finished = not request.keep_alive
        self._complete.append(request)
        self._request = None
        self._body.clear()
