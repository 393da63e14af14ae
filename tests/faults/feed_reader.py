"""A reader that knows nothing but `/changes/`: a process of its own, which follows the stream until SIGTERM.

Whenever its stream ends or breaks, it goes on at the next replica, from the last event that it has. It writes down what
it is told, in that order. Run as `feed_reader.py JSON`, the JSON being a `FeedOrder`.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from contextlib import suppress
from io import RawIOBase
from itertools import cycle
from pathlib import Path

import msgspec

from event_streams import EventStream, Sent
from scripted import ScriptedChild

PAUSE_S = 0.05
SILENCE_S = 30.0
"""There is a heartbeat every 15 s. A stream that has none is given up."""
TIMEOUT_S = 5.0
NOT_NOW = {503}


class FeedOrder(msgspec.Struct):
    journal: str
    replicas: list[str]


class Told(msgspec.Struct, frozen=True):
    """One event of the feed, or a line that says what went wrong (`problem`)."""

    at: float
    """When it was read, on CLOCK_MONOTONIC."""
    type: str = ""
    conversation: str = ""
    source: str = ""
    message: str = ""
    position: int = 0
    content: str = ""
    problem: str = ""
    id: str = ""


class FeedReader(ScriptedChild):
    def __init__(self, order: FeedOrder, log: Path) -> None:
        super().__init__("the reader of the feed", log)
        self._order = order

    def start(self) -> None:
        self._spawn_script(__file__, self._order)


class Follower:
    def __init__(self, order: FeedOrder, journal: RawIOBase) -> None:
        self._replicas = cycle(order.replicas)
        self._journal = journal
        self._last = ""
        self._heard_at = time.monotonic()
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            with suppress(OSError, EOFError):  # killed, frozen, or drained: another one has it, too
                self._follow(next(self._replicas))
            time.sleep(PAUSE_S)

    def _follow(self, url: str) -> None:
        query = "" if self._last else "after=oldest"
        with EventStream(url, query, last_event_id=self._last, timeout_s=TIMEOUT_S) as stream:
            self._heard_at = time.monotonic()
            if stream.status != 200:
                if stream.status not in NOT_NOW:
                    self._write(Told(time.monotonic(), problem=f"a stream was answered {stream.status}"))
                return
            while not self.stop.is_set() and time.monotonic() - self._heard_at < SILENCE_S:
                comments = stream.comments
                try:
                    self._note(stream.next(timeout_s=1))
                except TimeoutError:
                    if stream.comments != comments:
                        self._heard_at = time.monotonic()

    def _note(self, sent: Sent) -> None:
        self._heard_at = time.monotonic()
        self._last = sent.id
        if sent.name == "message":
            message = sent.data["data"].get("message", {})
            self._write(
                Told(
                    self._heard_at,
                    sent.data["type"],
                    sent.data["conversation_id"],
                    sent.data["source"],
                    message.get("id", ""),
                    message.get("position", 0),
                    message.get("content", ""),
                    id=sent.data["id"],
                )
            )
        elif sent.name != "caught_up":
            self._write(Told(self._heard_at, problem=f"a stream said {sent.name}: {sent.data}"))

    def _write(self, told: Told) -> None:
        self._journal.write(msgspec.json.encode(told) + b"\n")


if __name__ == "__main__":
    given = msgspec.json.decode(sys.argv[1], type=FeedOrder)
    with Path(given.journal).open("wb", buffering=0) as opened:
        follower = Follower(given, opened)
        signal.signal(signal.SIGTERM, lambda *_: follower.stop.set())
        follower.run()
