"""A client of `GET /changes/` as a stream, which reads when it is told to: for tests of slow and strange readers."""

from __future__ import annotations

import json
import socket
import time
from types import TracebackType
from typing import Any, NamedTuple, Self

import requests


def feed_pages(url: str, *, token: str = "", after: str = "oldest", limit: int = 1000) -> list[dict[str, Any]]:
    """Return all events from the cursor to the end of the feed, read page by page."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    events: list[dict[str, Any]] = []
    while True:
        parameters = {"after": after, "limit": str(limit)}
        answer = requests.get(f"{url}/changes/", params=parameters, headers=headers, timeout=30).json()
        events += answer["items"]
        if answer["caught_up"]:
            return events
        after = answer["cursor"]


class Sent(NamedTuple):
    """One event of the stream, as the server sent it."""

    name: str
    id: str
    data: Any


class EventStream:
    """An open stream. HTTP is read by hand: chunks, and what is between them, are a part of what is tested."""

    def __init__(  # noqa: PLR0913 (each is one property of the client)
        self,
        url: str,
        query: str = "",
        *,
        token: str = "",
        last_event_id: str = "",
        version: str = "1.1",
        method: str = "GET",
        receive_buffer: int | None = None,
        timeout_s: float = 20,
    ) -> None:
        """Raises OSError where nobody answers, in time."""
        host, _, port = url.removeprefix("http://").partition(":")
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(timeout_s)
        headers = [f"{method} /changes/?{query} HTTP/{version}", f"Host: {host}", "Accept: text/event-stream"]
        headers += [f"Authorization: Bearer {token}"] if token else []
        headers += [f"Last-Event-ID: {last_event_id}"] if last_event_id else []
        self._received = b""
        self._text = b""
        self._is_chunked = False
        self.ended = False
        self.retries: list[int] = []
        self.comments = 0
        self.last_id = ""
        try:
            self._socket.connect((host, int(port)))
            self._socket.sendall(("\r\n".join(headers) + "\r\n\r\n").encode())
            head = self._read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        except BaseException:
            self._socket.close()
            raise
        self.status = int(head[0].split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        self._is_chunked = self.headers.get("transfer-encoding") == "chunked"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def half_close(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def body(self) -> bytes:
        """Return what follows the head of an answer that is no stream."""
        length = int(self.headers["content-length"])
        while len(self._received) < length:
            self._receive()
        return self._received[:length]

    def next(self, timeout_s: float = 20) -> Sent:
        """Return the next event or notice. Raises TimeoutError, and EOFError where the stream ended in order."""
        give_up_at = time.monotonic() + timeout_s
        while True:
            block, found, rest = self._text.partition(b"\n\n")
            if found:
                self._text = rest
                sent = self._parse(block.decode())
                if sent is not None:
                    return sent
                continue
            self._socket.settimeout(max(0.001, give_up_at - time.monotonic()))
            self._read_more()

    def take(self, events: int, timeout_s: float = 20) -> list[Sent]:
        """Return the next events of the feed, so many. Notices are left out."""
        taken: list[Sent] = []
        give_up_at = time.monotonic() + timeout_s
        while len(taken) < events:
            sent = self.next(give_up_at - time.monotonic())
            if sent.name == "message":
                taken.append(sent)
        return taken

    def until_caught_up(self) -> list[Sent]:
        taken: list[Sent] = []
        while (sent := self.next()).name != "caught_up":
            taken.append(sent)
        return taken

    def until_end(self, timeout_s: float = 20) -> list[Sent]:
        """Return all that comes until the stream ends in order."""
        taken: list[Sent] = []
        try:
            while True:
                taken.append(self.next(timeout_s))
        except EOFError:
            return taken

    def _parse(self, block: str) -> Sent | None:
        name, data = "message", None
        for line in block.split("\n"):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "id":
                self.last_id = value
            elif field == "data":
                data = value
            elif field == "event":
                name = value
            elif field == "retry":
                self.retries.append(int(value))
            elif not field:
                self.comments += 1
        return None if data is None else Sent(name, self.last_id, json.loads(data))

    def _read_more(self) -> None:
        if not self._is_chunked:
            if not self._received:
                self._receive()
            self._text, self._received = self._text + self._received, b""
            return
        while b"\r\n" not in self._received:
            self._receive()
        line, _, rest = self._received.partition(b"\r\n")
        size = int(line, 16)
        while len(rest) < size + 2:  # nothing is taken before it is whole: a timeout may come between
            self._receive()
            rest = self._received[len(line) + 2 :]
        piece, end, self._received = rest[:size], rest[size : size + 2], rest[size + 2 :]
        assert end == b"\r\n"
        self._text += piece
        if size == 0:
            self.ended = True
            assert self._socket.recv(1) == b"", "nothing follows the last chunk"
            raise EOFError

    def _read_until(self, end: bytes) -> bytes:
        while end not in self._received:
            self._receive()
        line, _, self._received = self._received.partition(end)
        return line

    def _receive(self) -> None:
        data = self._socket.recv(65_536)
        if not data:
            if self._is_chunked:
                raise ConnectionError("the stream broke off")
            self.ended = True
            raise EOFError
        self._received += data
