"""A tenant that does its worst within the protocol: a process of its own, until SIGTERM.

It sends as the source HOSTILE: huge messages to conversations that never open, small ones to ever new conversations,
endless groups, all faster than LIMITED may send. As a stranger it sends what nobody signed, and bodies by halves.
Run as `hostile.py JSON`, the JSON being a list of the ports of webhook on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from connection import Connections
from scripted import ScriptedChild

HOSTILE, LIMITED = "hostile", "limited"
SOURCES = f"""
[sources.{HOSTILE}]

[sources.{LIMITED}.limit]
events_per_s = 20
"""
ANSWER_TIMEOUT_S = 10.0
HUGE = "".join(random.Random(13).choices("ab", k=60_000))  # it does not compress well, so Postgres keeps it apart
HALF_SENT = 40
HALF_SENT_BYTES = 200_000
TIMESTAMP = "2025-06-04T14:20:05Z"

Send = Callable[[str, bytes], Awaitable[object]]


class Hostile(ScriptedChild):
    def __init__(self, ports: Sequence[int], log: Path) -> None:
        super().__init__("the hostile tenant", log)
        self._ports = list(ports)

    def start(self) -> None:
        self._spawn_script(__file__, self._ports)


def event(kind: str, conversation: str, content: str = "") -> bytes:
    data = {"id": conversation}
    if kind == "NEW_MESSAGE":
        data = {"id": str(uuid.uuid4()), "content": content, "conversation_id": conversation}
    return json.dumps({"type": kind, "timestamp": TIMESTAMP, "data": data}).encode()


async def huge(send: Send) -> None:
    """To a conversation that never opens: all of it is held, and expires together."""
    conversation = str(uuid.uuid4())
    for _ in range(100):
        await send(f"/webhook/{HOSTILE}/", event("NEW_MESSAGE", conversation, HUGE))


async def many(send: Send) -> None:
    """One message each for ever new conversations."""
    await send(f"/webhook/{HOSTILE}/", event("NEW_MESSAGE", str(uuid.uuid4()), "Oi"))


async def endless_group(send: Send) -> None:
    conversation = str(uuid.uuid4())
    await send(f"/webhook/{HOSTILE}/", event("NEW_CONVERSATION", conversation))
    for _ in range(500):
        await send(f"/webhook/{HOSTILE}/", event("NEW_MESSAGE", conversation, "Oi"))


async def beyond_its_limit(send: Send) -> None:
    await send(f"/webhook/{LIMITED}/", event("NEW_CONVERSATION", str(uuid.uuid4())))


async def unsigned(send: Send) -> None:
    """To a source that signs."""
    await send("/webhook/shop/", event("NEW_MESSAGE", str(uuid.uuid4()), HUGE))


PLAYS = {huge: 6, many: 8, endless_group: 4, beyond_its_limit: 4, unsigned: 4}
"""How many connections play each, at the same time."""


async def play_on(play: Callable[[Send], Awaitable[None]], port: int) -> None:
    connections = Connections(ANSWER_TIMEOUT_S)

    async def send(path: str, body: bytes) -> None:
        await connections.ask(("127.0.0.1", port), "POST", path, body, {})

    while True:
        with suppress(OSError, EOFError, TimeoutError):
            await play(send)
        await asyncio.sleep(0)


async def send_by_halves(port: int) -> None:
    """As a stranger who never comes to an end."""
    head = f"POST /webhook/ HTTP/1.1\r\nHost: realmate\r\nContent-Length: {HALF_SENT_BYTES}\r\n\r\n".encode()
    while True:
        with suppress(OSError, EOFError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + b" " * (HALF_SENT_BYTES // 2))
            await reader.read(1)
            writer.close()
        await asyncio.sleep(0.1)


async def run(ports: Sequence[int]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    plays = [play for play, connections in PLAYS.items() for _ in range(connections)]
    tasks = [asyncio.create_task(play_on(play, ports[number % len(ports)])) for number, play in enumerate(plays)]
    tasks += [asyncio.create_task(send_by_halves(ports[number % len(ports)])) for number in range(HALF_SENT)]
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(run(json.loads(sys.argv[1])))
