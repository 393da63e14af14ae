"""Heads that came before. Most requests of a sender differ in their bodies alone, so their common head is parsed once.

The same bytes mean the same head again. It is kept only where nothing in it belongs to one request or is a secret, and
where the request came whole, in one piece: so what follows the head in a later piece is the body, and nothing else.
"""

from __future__ import annotations

from typing import NamedTuple

from realmate.http_server.request import Request

MAX_HEADS = 1024
MAX_HEAD_BYTES = 1024
"""Together they bound what is kept to little more than 1 MB."""
MAX_BODY_BYTES = 65_536
_KEPT_HEADERS = frozenset({"host", "content-length", "connection", "content-encoding"})
"""The headers that a sender repeats, that we use and that are no secret."""


class KnownHead(NamedTuple):
    method: str
    path: str
    query: str
    headers: dict[str, str]
    head_bytes: int
    """The size of the head, as the parser counts it."""
    body_bytes: int
    """The announced length of the body."""


class KnownHeads:
    """The heads that one server has seen lately."""

    def __init__(self) -> None:
        self._by_bytes: dict[bytes, KnownHead] = {}

    def find(self, piece: bytes) -> tuple[KnownHead, bytes] | None:
        """The head and the body of a piece that holds one whole request, if that head is known."""
        end = piece.find(b"\r\n\r\n") + 4
        head = self._by_bytes.get(piece[:end])
        if head is None or end + head.body_bytes != len(piece):
            return None
        return head, piece[end:]

    def learn(self, piece: bytes, request: Request, headers: dict[str, str], head_bytes: int) -> None:
        """Keep the head of the one request that `piece` held, if it may be kept."""
        body_bytes = int(headers.get("content-length", 0))
        end = piece.find(b"\r\n\r\n") + 4
        if not 0 < body_bytes <= MAX_BODY_BYTES or end > MAX_HEAD_BYTES or end + body_bytes != len(piece):
            return
        if request.keep_alive and request.version == "1.1" and headers.keys() <= _KEPT_HEADERS:
            if len(self._by_bytes) >= MAX_HEADS:
                self._by_bytes.clear()
            self._by_bytes[piece[:end]] = KnownHead(
                request.method, request.path, request.query, headers, head_bytes, body_bytes
            )
