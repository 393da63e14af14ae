"""The calls of this process that wait for their verdicts, whatever the broker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import eventlet
from eventlet.queue import LightQueue

from realmate.transport.interface import TransportUnavailable

SEND_AGAIN = None


@dataclass(slots=True)
class Call:
    """A batch that waits for its reply."""

    id: str
    payload: bytes
    deadline: float
    """time.monotonic() after which nobody waits any more."""
    attempts: int = 0
    """Raised by the sender each time it tries: what seemed to fail may have arrived."""
    sent: bool = False
    """Whether the broker has it. It becomes False when the batch must be sent again."""
    inbox: Any = field(default_factory=LightQueue)
    """Gets the reply, or SEND_AGAIN."""

    @property
    def left_ms(self) -> int:
        return max(1, int((self.deadline - time.monotonic()) * 1000))


class InFlightCalls:
    """Sends each batch with `send`, which returns when the broker has it, and again whenever it may be lost."""

    def __init__(self, send: Callable[[Call], None]) -> None:
        self._send = send
        self._waiting: dict[str, Call] = {}

    def call(self, payload: bytes, *, timeout_s: float) -> bytes:
        """The reply. Raises TransportUnavailable after `timeout_s`."""
        call = Call(uuid.uuid4().hex, payload, time.monotonic() + timeout_s)
        self._waiting[call.id] = call
        try:
            # The one bound over everything in it: names looked up, connections awaited, servers that hang.
            with eventlet.Timeout(timeout_s, False):  # noqa: FBT003 (eventlet's own way to say: leave the block)
                return self._exchange(call)
        finally:
            del self._waiting[call.id]
        raise TransportUnavailable(f"no reply within {timeout_s:g} s")

    def resolve(self, call_id: str, reply: bytes) -> None:
        """Nobody waits for some responses any more: those are dropped."""
        if call := self._waiting.get(call_id):
            call.inbox.put(reply)

    def resend(self) -> None:
        """Send the batches again that the broker had, marked as redelivered: they, or their responses, may be lost."""
        for call in self._waiting.values():
            if call.sent:
                call.sent = False
                call.inbox.put(SEND_AGAIN)

    def _exchange(self, call: Call) -> bytes:
        reply: bytes | None = SEND_AGAIN
        while reply is SEND_AGAIN:
            self._send(call)
            call.sent = True
            reply = call.inbox.get()
        return reply
