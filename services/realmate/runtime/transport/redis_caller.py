"""The intake's end of the transport on Redis Streams.

A batch goes into one stream for all; its reply comes back on a list of this process's own, read by one greenlet that
wakes the call with that id. Replies nobody waits for any more are dropped; the list expires with its process.

A call rides out a restart or failover of Redis for as long as its time lasts: whenever the reading connection was lost,
what was sent before may be lost too, so the calls still waiting send their batch again, marked as redelivered.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import eventlet
import msgspec
from eventlet.queue import LightQueue

from realmate.runtime.transport.interface import Spawn, TransportUnavailable
from realmate.runtime.transport.redis_link import BLOCK_S, COMMANDS, RedisLink

MAX_QUEUED = 10_000
"""Commands in the stream before Redis drops the oldest. A last bound: the intake keeps few calls in flight, so this
many wait only where nobody consumes, and then the oldest are past their deadlines."""
CONNECTIONS = 8
"""More calls at a time than this wait for a connection; the intake has fewer batches in flight."""
PROBE_S = 0.01
"""How long the first read after a loss waits: it is there to learn whether Redis is back."""

reply_decoder = msgspec.msgpack.Decoder(tuple[str, bytes])
SEND_AGAIN = None


@dataclass(slots=True)
class _Call:
    """A batch that waits for its reply."""

    id: str
    payload: bytes
    deadline: float
    attempts: int = 0
    in_stream: bool = False
    inbox: Any = field(default_factory=LightQueue)
    """Gets the reply, or SEND_AGAIN."""


class RedisCaller:
    def __init__(self, url: str, *, spawn: Spawn) -> None:
        self._link = RedisLink(url, connections=CONNECTIONS)
        self._replies = f"realmate:replies:{uuid.uuid4().hex}"
        self._waiting: dict[str, _Call] = {}
        self._attached = True
        self._reader = spawn(self._read_replies)

    def call(self, payload: bytes, *, timeout_s: float) -> bytes:
        call = _Call(uuid.uuid4().hex, payload, time.monotonic() + timeout_s)
        self._waiting[call.id] = call
        try:
            # The one bound over everything in it: names looked up, connections awaited, servers that hang.
            with eventlet.Timeout(timeout_s, False):  # noqa: FBT003 (eventlet's own way to say: leave the block)
                return self._exchange(call)
        finally:
            del self._waiting[call.id]
        raise TransportUnavailable(f"no reply within {timeout_s:g} s")

    def ping(self) -> None:
        self._link.client.ping()

    def close(self) -> None:
        self._reader.kill()
        self._link.close()

    def _exchange(self, call: _Call) -> bytes:
        reply: bytes | None = SEND_AGAIN
        while reply is SEND_AGAIN:
            self._link.persist("send", partial(self._send, call))
            reply = call.inbox.get()
        return reply

    def _send(self, call: _Call) -> None:
        call.in_stream = False
        call.attempts += 1
        self._link.client.xadd(
            COMMANDS,
            {
                "id": call.id,
                "reply": self._replies,
                "attempt": call.attempts,
                "timeout_ms": int((call.deadline - time.monotonic()) * 1000),
                "payload": call.payload,
            },
            maxlen=MAX_QUEUED,
            approximate=True,
        )
        call.in_stream = True

    def _read_replies(self) -> None:
        while True:
            for packed in self._link.persist("receive replies", self._pop_replies):
                call_id, reply = reply_decoder.decode(packed)
                if call := self._waiting.get(call_id):
                    call.inbox.put(reply)

    def _pop_replies(self) -> Sequence[bytes]:
        was_attached, self._attached = self._attached, False
        popped: Any = self._link.reads.blmpop(
            BLOCK_S if was_attached else PROBE_S, 1, self._replies, direction="LEFT", count=100
        )
        self._attached = True
        if not was_attached:
            self._send_waiting_again()
        return popped[1] if popped else ()

    def _send_waiting_again(self) -> None:
        for call in self._waiting.values():
            if call.in_stream:
                call.inbox.put(SEND_AGAIN)
