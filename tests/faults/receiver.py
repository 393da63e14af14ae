"""A receiver of outbound webhooks that is struck as well: a process of its own, until SIGTERM.

It writes down each request before it answers it, in the order in which they come, and says whether it took the event.
Its mood is in a file, so that one that was killed comes back with the mood it has to have.
Run as `receiver.py JSON`, the JSON being a `ReceiverOrder`.
"""

from __future__ import annotations

import asyncio
import random
import signal
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum
from io import RawIOBase
from pathlib import Path

import msgspec
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from scripted import ScriptedChild
from signatures import SECRET, is_signed

OFTEN_IN_THE_MOOD = 0.8
"""The other requests are answered as always, so that one settlement has outcomes of both kinds."""
SLOW_S = (0.5, 3.0)
"""Up to longer than the endpoint's `timeout_s`."""
RETRY_AFTER_S = 1
TAKEN = 204


class Mood(StrEnum):
    WELL = "well"
    SLOW = "slow"
    BUSY = "429"  #: With Retry-After.
    BROKEN = "500"
    GARBAGE = "garbage"
    RESET = "reset"  #: The connection is cut instead of an answer, whether the event was taken or not.
    GONE = "410"  #: It pauses the endpoint.


class ReceiverOrder(msgspec.Struct):
    port: int
    journal: str
    mood: str
    """The file with the mood."""


class Arrival(msgspec.Struct, frozen=True):
    """One request that came, or what was wrong with it (`problem`)."""

    at: float
    """When it came, on CLOCK_MONOTONIC."""
    id: str = ""
    """The `webhook-id`."""
    is_taken: bool = False
    """Whether the receiver keeps the event. What is not taken has to come again."""
    type: str = ""
    conversation: str = ""
    source: str = ""
    message: str = ""
    position: int = 0
    content: str = ""
    gap: bool = False
    is_stale: bool = False
    """Whether it was rejected because its timestamp is not of now: the services' clock was wrong."""
    problem: str = ""


class Receiver(ScriptedChild):
    def __init__(self, order: ReceiverOrder, log: Path) -> None:
        super().__init__("the receiver", log)
        self._order = order
        self._set(Mood.WELL)

    def start(self) -> None:
        self._spawn_script(__file__, self._order)
        self._wait_until(self._listens)

    @contextmanager
    def mood(self, mood: Mood) -> Iterator[None]:
        self._set(mood)
        try:
            yield
        finally:
            self._set(Mood.WELL)

    def _set(self, mood: Mood) -> None:
        file = Path(self._order.mood)
        new = file.with_suffix(".new")
        new.write_text(mood)
        new.replace(file)

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._order.port), timeout=1):
            return True
        return False


class Server:
    def __init__(self, order: ReceiverOrder, journal: RawIOBase) -> None:
        self._mood = Path(order.mood)
        self._journal = journal

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError):
            while True:
                _, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
                body = await reader.readexactly(int(headers["content-length"]))
                await self._answer(headers, body, writer)
        writer.close()

    async def _answer(self, headers: Mapping[str, str], body: bytes, writer: asyncio.StreamWriter) -> None:
        in_the_mood = random.random() < OFTEN_IN_THE_MOOD
        mood = Mood(self._mood.read_text())
        if mood is not Mood.GONE and not in_the_mood:
            mood = Mood.WELL
        if mood is Mood.SLOW:
            await asyncio.sleep(random.uniform(*SLOW_S))
        loses_the_answer = mood in {Mood.RESET, Mood.GARBAGE} and random.random() < 0.5
        arrival = arrived(headers, body, is_taken=mood in {Mood.WELL, Mood.SLOW} or loses_the_answer)
        self._journal.write(msgspec.json.encode(arrival) + b"\n")
        if arrival.is_stale or arrival.problem:
            writer.write(_said(401))
        elif mood is Mood.RESET:
            writer.transport.abort()
        elif mood is Mood.GARBAGE:
            writer.write(random.randbytes(64))
            writer.close()
        else:
            writer.write(ANSWERS.get(mood, _said(TAKEN)))
        await writer.drain()


def arrived(headers: Mapping[str, str], body: bytes, *, is_taken: bool) -> Arrival:
    """Return what came, and say so where it is not as it should be."""
    now = time.monotonic()
    try:
        event = Webhook(SECRET).verify(body, dict(headers))
    except WebhookVerificationError as error:
        if is_signed(body, headers):
            return Arrival(now, headers["webhook-id"], is_stale=True)
        return Arrival(now, headers.get("webhook-id", ""), problem=f"a request was not signed: {error}")
    if event["id"] != headers["webhook-id"]:
        return Arrival(now, headers["webhook-id"], problem=f"the event {event['id']} came with another id")
    message = event["data"].get("message", {})
    return Arrival(
        now,
        event["id"],
        is_taken,
        event["type"],
        event["conversation_id"],
        event["source"],
        message.get("id", ""),
        message.get("position", 0),
        message.get("content", ""),
        event.get("gap", False),
    )


def _said(status: int, more: str = "") -> bytes:
    length = "" if status == TAKEN else "Content-Length: 0\r\n"
    return f"HTTP/1.1 {status} Said\r\n{length}{more}\r\n".encode()


ANSWERS = {
    Mood.BUSY: _said(429, f"Retry-After: {RETRY_AFTER_S}\r\n"),
    Mood.BROKEN: _said(500),
    Mood.GONE: _said(410),
}


async def run(port: int, server: Server) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", port)
    await stop.wait()
    listener.close()


if __name__ == "__main__":
    given = msgspec.json.decode(sys.argv[1], type=ReceiverOrder)
    with Path(given.journal).open("ab", buffering=0) as opened:
        asyncio.run(run(given.port, Server(given, opened)))
