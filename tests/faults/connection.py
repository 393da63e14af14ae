"""An HTTP/1.1 client that hides nothing: one connection, one request at a time, no retry, no redirect."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

Address = tuple[str, int]


class Connections:
    """One sender's kept-alive connections, one for each address."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._open: dict[Address, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def ask(
        self, address: Address, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """(status, body). Raises OSError, EOFError or TimeoutError without an answer; the connection is gone then."""
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._ask(address, method, path, body, headers)
        except BaseException:
            self._drop(address)
            raise

    def close(self) -> None:
        for address in list(self._open):
            self._drop(address)

    async def _ask(
        self, address: Address, method: str, path: str, body: bytes, more_headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        if address not in self._open:
            self._open[address] = await asyncio.open_connection(*address)
        reader, writer = self._open[address]
        more = "".join(f"{name}: {value}\r\n" for name, value in more_headers.items())
        head = f"{method} {path} HTTP/1.1\r\nHost: realmate\r\nContent-Length: {len(body)}\r\n{more}\r\n"
        writer.write(head.encode() + body)
        status_line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        answer = await reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection", "").lower() == "close":
            self._drop(address)
        return int(status_line.split()[1]), answer

    def _drop(self, address: Address) -> None:
        if address in self._open:
            _, writer = self._open.pop(address)
            with suppress(OSError):
                writer.transport.abort()
