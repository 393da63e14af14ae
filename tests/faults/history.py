"""What senders and readers did and saw, as one file of JSON lines: written while it happens, read while it grows.

Every moment is CLOCK_MONOTONIC, which all processes of a machine share and no fault of ours moves. An event is written
down before it is sent the first time, and each attempt when it ended: what is under way can be seen, too.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Self

import msgspec

NO_ANSWER = 0
UNPROVEN = 401
"""What a signed request gets where the server's clock is wrong: nothing was done, and it can be signed anew."""
UNAVAILABLE = 503
UNDECIDED = {NO_ANSWER, UNPROVEN, UNAVAILABLE}


class Event(msgspec.Struct, tag="event", frozen=True):
    """Something a sender wants known. Every attempt sends these very bytes."""

    number: int
    at: float
    """When it was first sent."""
    kind: str
    conversation: str
    timestamp: str
    message: str = ""
    content: str = ""
    source: str = ""
    """Whose it is; empty: the default one's. A source signs each attempt, under one idempotency key for the event."""

    def body(self) -> bytes:
        data = {"id": self.conversation}
        if self.kind == "NEW_MESSAGE":
            data = {"id": self.message, "content": self.content, "conversation_id": self.conversation}
        return msgspec.json.encode({"type": self.kind, "timestamp": self.timestamp, "data": data})


class Attempt(msgspec.Struct, tag="attempt", frozen=True):
    """One request with an event and what came of it."""

    event: int
    sent_at: float
    ended_at: float
    status: int
    verdict: str = ""
    """The answer's `status` or `code`."""

    @property
    def promised(self) -> bool:
        return 200 <= self.status < 300

    @property
    def decided(self) -> bool:
        """Whether it was answered for good. What was not may have been committed, or may yet be."""
        return self.status not in UNDECIDED


class Read(msgspec.Struct, tag="read", frozen=True):
    """One GET of a conversation and what it showed."""

    conversation: str
    sent_at: float
    ended_at: float
    status: int
    state: str = ""
    inbound: tuple[str, ...] = ()
    replies: tuple[tuple[str, ...], ...] = ()
    """The ids that each reply names."""


Record = Event | Attempt | Read

_decoder = msgspec.json.Decoder(Record)
_encoder = msgspec.json.Encoder()


class Journal:
    """The writing end."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def write(self, record: Record) -> None:
        self._file.write(_encoder.encode(record) + b"\n")

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class History:
    def __init__(self) -> None:
        self.events: dict[int, Event] = {}
        self.attempts: dict[int, list[Attempt]] = defaultdict(list)
        self.reads: list[Read] = []
        self.waiting: dict[int, Event] = {}
        """Events without a final answer."""

    @classmethod
    def of(cls, *records: Record) -> Self:
        history = cls()
        for record in records:
            history.add(record)
        return history

    def add(self, record: Record) -> None:
        if isinstance(record, Event):
            self.events[record.number] = self.waiting[record.number] = record
        elif isinstance(record, Attempt):
            self.attempts[record.event].append(record)
            if record.decided:
                self.waiting.pop(record.event, None)
        else:
            self.reads.append(record)

    def answer(self, event: Event) -> Attempt | None:
        """The final one."""
        attempts = self.attempts[event.number]
        return attempts[-1] if attempts and attempts[-1].decided else None


class Follower:
    """Reads a journal into a history while it is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self.history = History()

    def catch_up(self) -> History:
        if not self._path.exists():
            return self.history
        with self._path.open("rb") as file:
            file.seek(self._position)
            for line in file:
                if not line.endswith(b"\n"):  # half written: next time
                    break
                self._position += len(line)
                self.history.add(_decoder.decode(line))
        return self.history
