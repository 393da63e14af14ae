"""Somebody who says something to a new conversation at a low rate, and looks from outside when each reply is there."""

from __future__ import annotations

import threading
import time
import uuid
from datetime import UTC, datetime

import requests

from database import Database
from installation import BenchError
from outcome import Load, percentiles

SOURCE = "neighbour"
RATE = 20.0
"""Conversations a second, each with one message."""
LOOK_INTERVAL_S = 0.02
PATIENCE_S = 60.0

_REPLIED = f"""
    SELECT CAST(reply.conversation_id AS text),
        extract(epoch FROM clock_timestamp() - message.arrived_at)::float8
    FROM messages AS reply JOIN messages AS message USING (conversation_id, source_id)
    WHERE reply.kind = 2 AND message.kind = 1 AND source_id = (SELECT id FROM sources WHERE name = '{SOURCE}')
"""


def lateness(url: str, database: Database, *, seconds: float, window_s: float) -> Load:
    """Of each reply, from the end of its window to the first look that finds it. Raises BenchError."""
    sender = _Sender(f"{url}/webhook/{SOURCE}/", seconds)
    sender.start()
    seen_s: dict[str, float] = {}
    give_up_at = time.monotonic() + seconds + PATIENCE_S
    while sender.is_alive() or len(seen_s) < sender.accepted:
        if time.monotonic() > give_up_at:
            raise BenchError(f"{sender.accepted - len(seen_s)} replies did not come within {PATIENCE_S:g} s")
        for conversation, after_s in database.all(_REPLIED):
            seen_s.setdefault(conversation, after_s - window_s)
        time.sleep(LOOK_INTERVAL_S)
    late_ms = [1e3 * each for each in seen_s.values()]
    return Load(
        events=len(late_ms),
        per_second=len(late_ms) / seconds,
        latency_ms=percentiles(late_ms),
        non_2xx=sender.rejected,
    )


class _Sender(threading.Thread):
    def __init__(self, url: str, seconds: float) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._count = int(seconds * RATE)
        self._session = requests.Session()
        self.accepted = 0
        self.rejected = 0

    def run(self) -> None:
        started_at = time.monotonic()
        for number in range(self._count):
            time.sleep(max(0.0, started_at + number / RATE - time.monotonic()))
            key = str(uuid.uuid4())
            opened = self._post("NEW_CONVERSATION", {"id": key})
            said = self._post("NEW_MESSAGE", {"id": str(uuid.uuid4()), "content": "Oi", "conversation_id": key})
            if opened and said:
                self.accepted += 1
            else:
                self.rejected += 1

    def _post(self, kind: str, data: dict[str, str]) -> bool:
        event = {"type": kind, "timestamp": datetime.now(UTC).isoformat(), "data": data}
        return self._session.post(self._url, json=event, timeout=PATIENCE_S).ok
