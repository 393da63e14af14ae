"""A load whose every event is sent until it is answered 2xx, as senders do; and what must be there afterwards."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import uuid4

import requests

from release import Release

SENDERS = 10
PAUSE_S = 0.2
"""Between two events of one sender: ten of them make fifty a second, or a little less."""
GIVE_UP_S = 180.0

Sign = Callable[[bytes], Mapping[str, str]]


class Ledger:
    """What was promised."""

    def __init__(self, release: Release, *, source: str = "", sign: Sign | None = None) -> None:
        self._release = release
        self._source = source
        self._sign = sign
        self._lock = threading.Lock()
        self.stopped = threading.Event()
        self.accepted: dict[str, list[str]] = {}
        """Messages answered 2xx, by their conversation."""
        self.rejected: Counter[int] = Counter()
        """How often an event had to be sent again, by the status it got; 0: no answer."""
        self.slowest_s = 0.0

    @property
    def events(self) -> int:
        return sum(1 + len(messages) for messages in self.accepted.values())

    def send_until_stopped(self) -> None:
        while not self.stopped.is_set():
            conversation, messages = str(uuid4()), []
            self._send("NEW_CONVERSATION", id=conversation)
            for _ in range(3):
                message = str(uuid4())
                self._send("NEW_MESSAGE", id=message, conversation_id=conversation, content="Olá")
                messages.append(message)
            with self._lock:
                self.accepted[conversation] = messages

    def _send(self, kind: str, **data: str) -> None:
        """Until it is answered 2xx; once it was rejected, `exists` is an answer, too: the first one was lost."""
        body = json.dumps({"type": kind, "timestamp": "2026-01-01T12:00:00Z", "data": data}).encode()
        give_up_at, is_again = time.monotonic() + GIVE_UP_S, False
        while True:
            started_at = time.monotonic()
            headers = self._sign(body) if self._sign else {}
            status = self._release.post(body, source=self._source, headers=headers)
            with self._lock:
                self.slowest_s = max(self.slowest_s, time.monotonic() - started_at)
                if status // 100 != 2:
                    self.rejected[status] += 1
            if status // 100 == 2 or (status == 400 and is_again and kind == "NEW_CONVERSATION"):
                break
            assert time.monotonic() < give_up_at, f"answered {status} for {GIVE_UP_S:g} s"
            is_again = True
            time.sleep(0.5)
        time.sleep(PAUSE_S)

    def verify(self) -> None:
        """Every accepted message is there once, and is answered once. Raises AssertionError."""
        time.sleep(7)  # the last groups' windows
        with ThreadPoolExecutor(8) as pool:
            wrong = [each for found in pool.map(self._wrong, self.accepted.items()) for each in found]
        assert self.accepted
        assert wrong == [], f"{len(wrong)} of {self.events}"

    def _wrong(self, promised: tuple[str, list[str]]) -> list[str]:
        conversation, messages = promised
        url = f"{self._release.url}/conversations/{conversation}/?source={self._source or 'default'}"
        answer = requests.get(url, timeout=10)
        if answer.status_code != 200:
            return [f"{conversation} is lost: {answer.status_code}"]
        there = answer.json()["messages"]
        ids = Counter(each["id"] for each in there if each["type"] == "INBOUND")
        answered = Counter(
            line for each in there if each["type"] == "OUTBOUND" for line in each["content"].splitlines()[1:]
        )
        return [
            f"{message} is there {ids[message]} times, and answered {answered[message]} times"
            for message in messages
            if (ids[message], answered[message]) != (1, 1)
        ]


@contextmanager
def load(release: Release, *, source: str = "", sign: Sign | None = None) -> Iterator[Ledger]:
    """About forty events a second while the block runs. Raises what a sender raised."""
    ledger = Ledger(release, source=source, sign=sign)
    with ThreadPoolExecutor(SENDERS) as pool:
        sending = [pool.submit(ledger.send_until_stopped) for _ in range(SENDERS)]
        try:
            time.sleep(2)
            yield ledger
            time.sleep(2)
        finally:
            ledger.stopped.set()
    for each in sending:
        each.result()
    print(f"{ledger.events} events, sent again: {dict(ledger.rejected)}, slowest {ledger.slowest_s:.2f} s")  # noqa: T201
