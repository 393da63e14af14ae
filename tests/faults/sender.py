"""One sender: it sends an event until it is answered for good, always the very same bytes, and writes it all down."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from types import MappingProxyType
from typing import Any

import msgspec

from connection import Address, Connections
from history import NO_ANSWER, UNAVAILABLE, UNDECIDED, UNPROVEN, Attempt, Event, Journal, Read
from signatures import signature

ANSWER_TIMEOUT_S = 8.0
"""Longer than COMMAND_TIMEOUT_S: who does not answer by then is frozen, or behind a partition."""
RETRY_AFTER_S = 1.0
"""What a 503 asks for."""
RECONNECT_AFTER_S = 0.2

EPOCH = datetime(2025, 6, 4, 14, 20, tzinfo=UTC)


class Order(msgspec.Struct, frozen=True):
    """What the load is to be. Ports are on 127.0.0.1."""

    journal: str
    intakes: list[int]
    readers: list[int]
    senders: int
    window_s: float
    tolerance_s: float
    seed: int
    signing: str
    """The source as which every second sender sends, signed."""


class Stopped(Exception):
    """The load ends; the sender stops where it is. What it sent has been answered."""


class Sender:
    numbers = count()

    def __init__(self, order: Order, number: int, journal: Journal, stop: asyncio.Event) -> None:
        self._journal = journal
        self._intakes = [("127.0.0.1", port) for port in order.intakes]
        self._readers = [("127.0.0.1", port) for port in order.readers]
        self._stop = stop
        self._idle: list[Connections] = []
        self._source = order.signing if number % 2 else ""
        self.window_s = order.window_s
        self.tolerance_s = order.tolerance_s
        self.random = Random(f"{order.seed}-{number}")

    async def open(self, conversation: str) -> str:
        return await self._insist("NEW_CONVERSATION", conversation)

    async def close(self, conversation: str) -> str:
        return await self._insist("CLOSE_CONVERSATION", conversation)

    async def say(self, conversation: str, message: str | None = None, content: str = "Oi") -> str:
        return await self._insist("NEW_MESSAGE", conversation, message or str(uuid.uuid4()), content)

    async def read(self, conversation: str) -> None:
        """GET it until it is shown, or said not to exist."""
        while True:
            sent_at = time.monotonic()
            status, body = await self._try(self._readers, "GET", f"/conversations/{conversation}/")
            self._journal.write(_read(conversation, sent_at, status, body))
            if status not in UNDECIDED:
                return
            await self._wait_before_retry(status)

    async def pause(self, seconds: float) -> None:
        """Raises Stopped when there is no time left."""
        try:
            async with asyncio.timeout(seconds):
                await self._stop.wait()
        except TimeoutError:
            return
        raise Stopped

    async def _insist(self, kind: str, conversation: str, message: str = "", content: str = "") -> str:
        if self._stop.is_set():
            raise Stopped
        # Senders' clocks are wrong and their messages out of order: the timestamp orders, and decides nothing.
        timestamp = (EPOCH + timedelta(seconds=self.random.randrange(60))).isoformat()
        number = next(self.numbers)
        event = Event(number, time.monotonic(), kind, conversation, timestamp, message, content, self._source)
        self._journal.write(event)
        body = event.body()
        while True:
            sent_at = time.monotonic()
            status, answer = await self._post(event, body)
            attempt = Attempt(number, sent_at, time.monotonic(), status, _verdict(answer))
            self._journal.write(attempt)
            if attempt.decided:
                return attempt.verdict
            await self._wait_before_retry(status)

    async def _post(self, event: Event, body: bytes) -> tuple[int, bytes]:
        if not event.source:
            return await self._try(self._intakes, "POST", "/webhook/", body)
        proof = signature(body, message_id=f"event-{event.number}")
        return await self._try(self._intakes, "POST", f"/webhook/{event.source}/", body, proof)

    async def _try(
        self,
        addresses: Sequence[Address],
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[int, bytes]:
        connections = self._idle.pop() if self._idle else Connections(ANSWER_TIMEOUT_S)
        try:
            return await connections.ask(self.random.choice(addresses), method, path, body, headers)
        except (OSError, EOFError, TimeoutError):
            return NO_ANSWER, b""
        finally:
            self._idle.append(connections)

    async def _wait_before_retry(self, status: int) -> None:
        longest_s = RETRY_AFTER_S if status in {UNAVAILABLE, UNPROVEN} else RECONNECT_AFTER_S
        await asyncio.sleep(longest_s * self.random.uniform(0.5, 1.0))


def _verdict(answer: bytes) -> str:
    """The answer's `status` or `code`; what is none of ours, as it is."""
    if not answer:
        return ""
    try:
        fields: dict[str, Any] = msgspec.json.decode(answer, type=dict[str, Any])
    except msgspec.DecodeError:
        return repr(answer[:100])
    return str(fields.get("code") or fields.get("status"))


def _read(conversation: str, sent_at: float, status: int, body: bytes) -> Read:
    ended_at = time.monotonic()
    if status != 200:
        return Read(conversation, sent_at, ended_at, status)
    shown = msgspec.json.decode(body)
    messages = shown["messages"]
    return Read(
        conversation,
        sent_at,
        ended_at,
        status,
        shown["status"],
        tuple(message["id"] for message in messages if message["type"] == "INBOUND"),
        tuple(tuple(message["content"].split("\n")[1:]) for message in messages if message["type"] == "OUTBOUND"),
    )
