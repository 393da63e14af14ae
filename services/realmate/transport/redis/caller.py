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

from realmate.runtime.health import NotReady
from realmate.runtime.loops import loops
from realmate.transport.in_flight import Call, InFlightCalls
from realmate.transport.redis.connections import COMMANDS, RESPONSES, RedisConnections, Response, subscription
from realmate.transport.redis.errors import explain
from realmate.transport.sealing import Sealing
from realmate.transport.validation import DroppedMessages, Unreadable

MAX_QUEUED = 10_000
"""Commands in the stream before Redis drops the oldest. A last bound: the intake keeps few calls in flight, so this
many wait only where nobody consumes, and then the oldest are past their deadlines."""

LISTENING = "receive responses"
TEST = b"test"
REHEARSED = "must be greater than 0-0"
"""Redis' words for an entry with the id 0-0. It checks the id last, after role, rights, memory and slot."""

response_decoder = msgspec.msgpack.Decoder(Response)


class RedisCaller:
    def __init__(self, url: str, sealing: Sealing) -> None:
        self._sealing = sealing
        self._connections = RedisConnections(url)
        self._channel = RESPONSES + uuid.uuid4().hex
        self._subscription = subscription(url)
        self._listening = Event()  # another one whenever the subscription was lost
        self._tested = False  # True while a message to ourselves is under way
        self._dropped = DroppedMessages("reply")
        self._calls = InFlightCalls(self._send)
        self._listener = loops.spawn("receive responses", self._listen)

    def call(self, payload: bytes, *, timeout_s: float) -> bytes:
        return self._calls.call(payload, timeout_s=timeout_s)

    def check(self) -> None:
        """Rehearse sending, on the very stream, and look whether responses can come. Raises NotReady."""
        self._connections.check(LISTENING)
        try:
            self._connections.commands.rehearse(("XADD", COMMANDS, "0-0", "rehearsal", ""), expected=REHEARSED)
        except (redis.RedisError, OSError) as error:
            raise explain(error) from error
        if not self._listening.ready():
            raise NotReady("the responses are not subscribed to yet")

    def close(self) -> None:
        self._listener.kill()
        self._sealing.close()
        self._subscription.disconnect()
        self._connections.close()

    def _send(self, call: Call) -> None:
        while True:
            listening = self._listening
            listening.wait()
            self._connections.retry("send", partial(self._add, call))
            if listening is self._listening:
                return  # else the subscription was lost while we sent: the reply may have gone past us

    def _add(self, call: Call) -> None:
        call.attempts += 1
        left_ms = call.left_ms
        seal = self._sealing.seal_batch(call.id, self._channel, call.payload, left_ms)
        entry = ("id", call.id, "reply", self._channel, "attempt", call.attempts, "timeout_ms", left_ms)
        sealed = ("seal", seal) if seal else ()
        self._connections.commands.ask(
            ("XADD", COMMANDS, "MAXLEN", "~", MAX_QUEUED, "*", *entry, *sealed, "payload", call.payload)
        )

    def _listen(self) -> None:
        while True:
            message = self._connections.retry(LISTENING, self._receive)
            if message is not None:
                self._answer(message)

    def _answer(self, message: Any) -> None:
        try:
            reply = response_decoder.decode(message)
            self._sealing.check_response(reply.seal, reply.batch_id, self._channel, reply.payload)
        except (msgspec.DecodeError, ValueError, TypeError):
            self._dropped.record("encoding")
        except Unreadable as reason:
            self._dropped.record(str(reason))
        else:
            self._calls.resolve(reply.batch_id, reply.payload)

    def _receive(self) -> bytes | None:
        """The next message. None: there was none for a second, but Redis lives."""
        try:
            if not self._listening.ready():
                self._subscribe()
            return self._next_message()
        except (redis.RedisError, OSError):
            self._subscription.disconnect()
            if self._listening.ready():
                self._listening = Event()
            raise

    def _subscribe(self) -> None:
        self._subscription.send_command("SUBSCRIBE", self._channel)
        try:
            self._subscription.read_response()
        except redis.ResponseError as rejection:
            rejection.asked = f"SUBSCRIBE {RESPONSES}*"  # type: ignore[attr-defined]
            raise
        self._tested = False
        self._listening.send()
        self._calls.resend()

    def _next_message(self) -> bytes | None:
        try:
            kind, *_, message = self._subscription.read_response(disconnect_on_error=False)
        except redis.TimeoutError:
            self._test_subscription()
            return None
        self._tested = False
        return message if kind == b"message" and message != TEST else None

    def _test_subscription(self) -> None:
        """Silence: publish to ourselves, where commands go, and raise if it did not reach us the last time.

        A subscription gets no error from a server that is no longer the one the address means: it would be silent for
        ever, while the responses are published on another one.
        """
        if self._tested:
            raise redis.ConnectionError("the subscription is silent")
        [receivers] = self._connections.commands.ask(("PUBLISH", self._channel, TEST))
        if not receivers:
            raise redis.ConnectionError("the subscription is on another server than the commands")
        self._tested = True
