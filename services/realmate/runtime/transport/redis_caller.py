"""The intake's end of the transport on Redis Streams.

A batch goes into one stream for all; its reply is published on a channel of this process's own, to which one greenlet
listens that wakes the call with that id. Replies nobody waits for any more are dropped.

A call rides out a restart or failover of Redis for as long as its time lasts: what was published while nobody listened
is gone, and what was sent before may be lost too, so the calls still waiting send their batch again, marked as
redelivered.
"""

from __future__ import annotations

import uuid
from functools import partial
from typing import Any

import msgspec
import redis
from eventlet.event import Event

from realmate.runtime.transport.calls import Call, Calls
from realmate.runtime.transport.interface import Spawn
from realmate.runtime.transport.redis_link import COMMANDS, RedisLink, subscription

MAX_QUEUED = 10_000
"""Commands in the stream before Redis drops the oldest. A last bound: the intake keeps few calls in flight, so this
many wait only where nobody consumes, and then the oldest are past their deadlines."""

reply_decoder = msgspec.msgpack.Decoder(tuple[str, bytes])


class RedisCaller:
    def __init__(self, url: str, *, spawn: Spawn) -> None:
        self._link = RedisLink(url)
        self._channel = f"realmate:replies:{uuid.uuid4().hex}"
        self._subscription = subscription(url)
        self._listening = Event()  # another one whenever the subscription was lost
        self._calls = Calls(self._send)
        self._listener = spawn(self._listen)

    def call(self, payload: bytes, *, timeout_s: float) -> bytes:
        return self._calls.run(payload, timeout_s=timeout_s)

    def ping(self) -> None:
        self._link.client.ping()

    def close(self) -> None:
        self._listener.kill()
        self._subscription.disconnect()
        self._link.close()

    def _send(self, call: Call) -> None:
        while True:
            listening = self._listening
            listening.wait()
            self._link.persist("send", partial(self._add, call))
            if listening is self._listening:
                return  # else the subscription was lost while we sent: the reply may have gone past us

    def _add(self, call: Call) -> None:
        call.attempts += 1
        entry = ("id", call.id, "reply", self._channel, "attempt", call.attempts, "timeout_ms", call.left_ms)
        self._link.lines.ask(("XADD", COMMANDS, "MAXLEN", "~", MAX_QUEUED, "*", *entry, "payload", call.payload))

    def _listen(self) -> None:
        while True:
            message = self._link.persist("receive replies", self._receive)
            if message is not None:
                call_id, reply = reply_decoder.decode(message)
                self._calls.answer(call_id, reply)

    def _receive(self) -> bytes | None:
        """The next message. None: there was none for a second, but Redis lives."""
        try:
            if not self._listening.ready():
                self._subscribe()
            kind, *_, message = self._read_or_ping()
        except (redis.RedisError, OSError):
            self._subscription.disconnect()
            if self._listening.ready():
                self._listening = Event()
            raise
        return message if kind == b"message" else None

    def _subscribe(self) -> None:
        self._subscription.send_command("SUBSCRIBE", self._channel)
        self._subscription.read_response()
        self._listening.send()
        self._calls.send_again()

    def _read_or_ping(self) -> Any:
        try:
            return self._subscription.read_response(disconnect_on_error=False)
        except redis.TimeoutError:
            self._subscription.send_command("PING")
            return self._subscription.read_response()
