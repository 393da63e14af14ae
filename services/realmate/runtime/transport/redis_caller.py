"""The intake's end of the transport on Redis Streams.

A batch goes into one stream for all; its reply comes back on a list of this process's own, read by one greenlet that
wakes the call with that id. Replies nobody waits for any more are dropped; the list expires with its process.

A call rides out a restart or failover of Redis for as long as its time lasts: whenever the reading connection was lost,
what was sent before may be lost too, so the calls still waiting send their batch again, marked as redelivered.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from realmate.runtime.transport.calls import Call, Calls
from realmate.runtime.transport.interface import Spawn
from realmate.runtime.transport.redis_link import BLOCK_S, COMMANDS, RedisLink

MAX_QUEUED = 10_000
"""Commands in the stream before Redis drops the oldest. A last bound: the intake keeps few calls in flight, so this
many wait only where nobody consumes, and then the oldest are past their deadlines."""
CONNECTIONS = 8
"""More calls at a time than this wait for a connection; the intake has fewer batches in flight."""
PROBE_S = 0.01
"""How long the first read after a loss waits: it is there to learn whether Redis is back."""

reply_decoder = msgspec.msgpack.Decoder(tuple[str, bytes])


class RedisCaller:
    def __init__(self, url: str, *, spawn: Spawn) -> None:
        self._link = RedisLink(url, connections=CONNECTIONS)
        self._replies = f"realmate:replies:{uuid.uuid4().hex}"
        self._calls = Calls(self._send)
        self._attached = True
        self._reader = spawn(self._read_replies)

    def call(self, payload: bytes, *, timeout_s: float) -> bytes:
        return self._calls.run(payload, timeout_s=timeout_s)

    def ping(self) -> None:
        self._link.client.ping()

    def close(self) -> None:
        self._reader.kill()
        self._link.close()

    def _send(self, call: Call) -> None:
        self._link.persist("send", partial(self._add, call))

    def _add(self, call: Call) -> None:
        call.attempts += 1
        self._link.client.xadd(
            COMMANDS,
            {
                "id": call.id,
                "reply": self._replies,
                "attempt": call.attempts,
                "timeout_ms": call.left_ms,
                "payload": call.payload,
            },
            maxlen=MAX_QUEUED,
            approximate=True,
        )

    def _read_replies(self) -> None:
        while True:
            for packed in self._link.persist("receive replies", self._pop_replies):
                call_id, reply = reply_decoder.decode(packed)
                self._calls.answer(call_id, reply)

    def _pop_replies(self) -> Sequence[bytes]:
        was_attached, self._attached = self._attached, False
        popped: Any = self._link.reads.blmpop(
            BLOCK_S if was_attached else PROBE_S, 1, self._replies, direction="LEFT", count=100
        )
        self._attached = True
        if not was_attached:
            self._calls.send_again()
        return popped[1] if popped else ()
