"""A receiver of webhooks that is as quick as Python can be: it answers 204 to all, and counts.

A process of its own; whoever asks it by GET is told what came since the last time. Run as `webhook_receiver.py PORT`.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psutil
import requests

from installation import BenchError
from realmate.local.ports import free_port

TAKEN = b"HTTP/1.1 204 No Content\r\n\r\n"
START_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 60.0
_MOMENT = b'"timestamp":"'


@dataclass
class Came:
    """What came since somebody asked."""

    count: int = 0
    late_ms: list[float] = field(default_factory=list)
    """From each event's own moment, which is before its commit, to its coming."""


class Receiver(asyncio.Protocol):
    def __init__(self, came: Came) -> None:
        self._came = came
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            if head.startswith(b"get"):
                self._buffer = b""
                self._tell()
                return
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            if len(self._buffer) < end + 4 + length:
                return
            self._take(self._buffer[end + 4 : end + 4 + length])
            self._buffer = self._buffer[end + 4 + length :]
            self._transport.write(TAKEN)

    def _take(self, body: bytes) -> None:
        self._came.count += 1
        at = body.index(_MOMENT) + len(_MOMENT)
        moment = body[at : body.index(b'"', at)].decode()
        self._came.late_ms.append(1e3 * (time.time() - datetime.fromisoformat(moment).timestamp()))

    def _tell(self) -> None:
        body = json.dumps({"count": self._came.count, "late_ms": self._came.late_ms}).encode()
        self._came.count, self._came.late_ms = 0, []
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


@contextmanager
def receiving() -> Iterator[tuple[str, psutil.Process]]:
    """Start one, and yield its URL and its process."""
    port = free_port()
    process = subprocess.Popen([sys.executable, __file__, str(port)])
    try:
        url = f"http://127.0.0.1:{port}/"
        _wait_until_it_answers(url)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def came(url: str) -> Came:
    """Return what came since the last time."""
    return Came(**requests.get(url, timeout=ANSWER_TIMEOUT_S).json())


def _wait_until_it_answers(url: str) -> None:
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up_at:
        try:
            came(url)
        except requests.ConnectionError:
            time.sleep(0.05)
        else:
            return
    raise BenchError("the receiver of webhooks did not start")


async def run(port: int) -> None:
    taken = Came()
    server = await asyncio.get_running_loop().create_server(lambda: Receiver(taken), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1])))
