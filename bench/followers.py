"""Clients of GET /changes/ as a stream, many in one process, and senders at a steady rate beside them."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

from installation import BenchError

SENDERS = 32
BUFFER_BYTES = 4 * 1024 * 1024
MESSAGE = "Olá, quero alugar um apartamento de dois quartos."
_FEED_ID = b'data: {"id":"evt_'


@dataclass
class Heard:
    """What streams were told: how long after the commit, in milliseconds."""

    late_ms: list[float] = field(default_factory=list)


class Stream:
    """One open stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, url: str, query: str) -> Stream:
        """Raises BenchError where the answer is no stream."""
        address = urlsplit(url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port, limit=BUFFER_BYTES)
        head = f"GET /changes/?{query} HTTP/1.1\r\nHost: {address.netloc}\r\nAccept: text/event-stream\r\n\r\n"
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        status_line = answer.partition(b"\r\n")[0].decode()
        if " 200 " not in status_line:
            raise BenchError(f"no stream: {status_line}")
        return cls(reader, writer)

    async def lines(self) -> AsyncIterator[bytes]:
        while line := await self._reader.readline():
            yield line

    async def listen(self, heard: Heard) -> None:
        """Note every event, until cancelled. The event's own moment is that of its transaction."""
        async for line in self.lines():
            if line.startswith(_FEED_ID):
                told = json.loads(line.removeprefix(b"data: "))
                heard.late_ms.append(1e3 * (time.time() - datetime.fromisoformat(told["timestamp"]).timestamp()))

    async def count_until_caught_up(self) -> int:
        events = 0
        async for line in self.lines():
            events += line.startswith(_FEED_ID)
            if line.startswith(b"event: caught_up"):
                return events
        raise BenchError("the stream ended before it had caught up")

    def close(self) -> None:
        self._writer.close()


async def opened(url: str, keys: Sequence[str]) -> None:
    """Open conversations with these ids."""
    await _by_senders(url, [("NEW_CONVERSATION", {"id": key}) for key in keys], per_second=None)


async def said(url: str, keys: Sequence[str], *, per_second: float, seconds: float) -> int:
    """Say something in each of these conversations in turn, at a steady rate. Return how many messages were taken."""
    count = int(per_second * seconds)
    events = [
        ("NEW_MESSAGE", {"id": str(uuid.uuid4()), "content": MESSAGE, "conversation_id": keys[n % len(keys)]})
        for n in range(count)
    ]
    return await _by_senders(url, events, per_second=per_second)


async def _by_senders(url: str, events: Sequence[tuple[str, dict[str, str]]], *, per_second: float | None) -> int:
    began = time.monotonic()
    taken = await asyncio.gather(*(_send(url, events, first, began, per_second) for first in range(SENDERS)))
    return sum(taken)


async def _send(
    url: str, events: Sequence[tuple[str, dict[str, str]]], first: int, began: float, per_second: float | None
) -> int:
    """Send every SENDERS-th event, each at its time or a little later. Raises BenchError where one is not taken."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    for number in range(first, len(events), SENDERS):
        if per_second is not None:
            await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
        kind, data = events[number]
        body = json.dumps({"type": kind, "timestamp": datetime.now(UTC).isoformat(), "data": data}).encode()
        head = f"POST /webhook/ HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        said_ = await reader.readexactly(length)
        if not answer.startswith(b"HTTP/1.1 2"):
            raise BenchError(f"an event was not taken: {said_.decode()}")
    writer.close()
    return len(range(first, len(events), SENDERS))
