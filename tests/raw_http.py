"""HTTP by hand, for tests of HTTP itself: nothing is mended, so what a test writes is what arrives."""

from __future__ import annotations

import json
import re
import select
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

CHUNKED = "Transfer-Encoding: chunked\r\n"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """Of a problem."""
        code: str = self.json()["code"]
        return code


class RawConnection:
    """Waits `timeout_s` for each piece of an answer. `receive_buffer` makes a slow reader."""

    def __init__(self, address: tuple[str, int], *, timeout_s: float, receive_buffer: int | None = None) -> None:
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(timeout_s)
        self._address = address
        self._received = b""

    def __enter__(self) -> Self:
        try:
            self._socket.connect(self._address)
        except OSError:
            self._socket.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def send_what_fits(self, data: bytes, within_s: float = 0.05) -> None:
        """As much of it as the server takes in this time."""
        timeout_s = self._socket.gettimeout()
        self._socket.settimeout(within_s)
        try:
            self._socket.sendall(data)
        except TimeoutError:
            pass
        finally:
            self._socket.settimeout(timeout_s)

    def has_answer(self) -> bool:
        """Whether a byte of it has come."""
        return bool(self._received) or bool(select.select([self._socket], [], [], 0)[0])

    def reset(self) -> None:
        """Go without a word."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def ask(self, data: bytes) -> Answer:
        self.send(data)
        return self.read()

    def stop_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def read(self, *, with_body: bool = True) -> Answer:
        """The next answer. Raises EOFError if the server closed instead."""
        while b"\r\n\r\n" not in self._received:
            self._receive()
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        status_line, *lines = head.decode("latin-1").split("\r\n")
        assert re.match(r"HTTP/1\.1 \d{3} ", status_line)
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0)) if with_body else 0
        while len(self._received) < length:
            self._receive()
        body, self._received = self._received[:length], self._received[length:]
        return Answer(int(status_line.split()[1]), headers, body)

    def ends(self) -> bool:
        """Wait for the server to close, and say whether it did so without a byte more."""
        return self._received == b"" and self._socket.recv(1) == b""

    def _receive(self) -> None:
        data = self._socket.recv(65_536)
        if not data:
            raise EOFError(f"closed after {self._received[:200]!r}")
        self._received += data


def post(path: str, body: bytes = b"", headers: str = "", *, version: str = "1.1") -> bytes:
    """A POST, with its length unless the headers say that it comes in chunks."""
    length = "" if "Transfer-Encoding" in headers else f"Content-Length: {len(body)}\r\n"
    return f"POST {path} HTTP/{version}\r\nHost: test\r\n{headers}{length}\r\n".encode() + body


def get(path: str, headers: str = "", *, method: str = "GET", version: str = "1.1") -> bytes:
    """A GET, or another method without a body."""
    return f"{method} {path} HTTP/{version}\r\nHost: test\r\n{headers}\r\n".encode()


def in_chunks(body: bytes, size: int, extension: str = "") -> bytes:
    """The body coded in chunks of `size`, the last one empty."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(f"{len(piece):x}{extension}\r\n".encode() + piece + b"\r\n" for piece in [*pieces, b""])
