"""The interface of every transport: batches of commands travel one way, batches of verdicts the other.

A transport moves opaque bytes. It promises *at least once*: a batch may be delivered again, with the same id, after its
consumer died or the broker lost its memory, and the consumer makes that harmless. It promises no order between batches.

Time never crosses processes as a wall clock: a batch carries how long its caller will wait, the broker's clock says how
long it has been under way, and the consumer gets the rest as a deadline on its own monotonic clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from realmate.errors import RealmateError


class TransportUnavailable(RealmateError):
    """No verdict came back in time: the broker is away, or no consumer answered. The caller should send again."""

    may_pass = True


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch, as a consumer receives it."""

    id: str
    """Chosen by the caller, unique, the same in every redelivery."""
    payload: bytes
    deadline: float
    """time.monotonic() after which the caller no longer waits: the batch must not be applied any more."""
    redelivered: bool
    """Whether another consumer, or this one before, may have applied it already or be about to.

    A hint where looking is worth it, not a lock: the first delivery may still be at work elsewhere, and a broker that
    failed over may have forgotten it. What makes a second application harmless must hold with False as well.
    """


class Caller(Protocol):
    """The intake's end."""

    def call(self, payload: bytes, *, timeout_s: float) -> bytes:
        """Send one batch and wait for its verdicts. Raises TransportUnavailable, after `timeout_s` at the latest."""

    def check(self) -> None:
        """Do a tiny piece of the real work. Raises NotReady with what is rejected, or what the broker raises."""

    def close(self) -> None:
        """Let go of the broker. No call is waiting any more."""


class Consumer(Protocol):
    """The consumer's end. One greenlet receives; any may settle or release. A broker's trouble raises nothing here."""

    def receive(self, limit: int) -> list[Delivery]:
        """Wait for up to `limit` deliveries, a second or so; nothing came, or `stop` was called: an empty list.

        What was received is leased to this process until it is settled or released, so long as the process lives.
        """

    def settle(self, deliveries: Sequence[Delivery], responses: Sequence[bytes | None]) -> None:
        """Acknowledge the deliveries and send each its reply (None: nobody waits for it)."""

    def release(self, deliveries: Sequence[Delivery]) -> None:
        """Give the deliveries back unacknowledged: they come again, here or elsewhere, though not at once."""

    def check(self) -> None:
        """Do a tiny piece of the real work. Raises NotReady with what is rejected, or what the broker raises."""

    def stop(self) -> None:
        """Receive nothing more; a waiting `receive` returns soon. What is in hand can still be settled."""

    def close(self) -> None:
        """Let go of the broker. What is still in hand comes again elsewhere."""
