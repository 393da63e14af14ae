"""What every transport offers, whatever the broker: batches of commands there, batches of verdicts back.

A transport moves opaque bytes. It promises *at least once*: a batch may be delivered again after its consumer died,
with the same id, and the consumer makes that harmless. It promises no order between batches.

Time never crosses processes as a wall clock: a batch carries how long its caller will wait, the broker's clock says how
long it has been under way, and the consumer gets the rest as a deadline on its own monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


class TransportUnavailable(Exception):  # noqa: N818 (the sender reads it as a state, not as a fault of its own)
    """No verdict came back in time: the broker is away, or no consumer answered. Sending again is right."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch, as a consumer receives it."""

    id: str
    """Chosen by the caller, unique, the same in every redelivery."""
    payload: bytes
    deadline: float
    """time.monotonic() after which the caller no longer waits: the batch must not be applied any more."""
    redelivered: bool
    """True when another consumer (or this one, before) may have applied it already."""


class Caller(Protocol):
    """The intake's end."""

    def call(self, payload: bytes, *, timeout_s: float) -> bytes:
        """Send one batch and wait for its verdicts. Raises TransportUnavailable."""

    def ping(self) -> None:
        """Raise TransportUnavailable unless the broker answers."""


Handler = Callable[[Sequence[Delivery]], Sequence[bytes]]
"""Applies deliveries and returns one reply each, after the commit. If it raises, nothing is acknowledged."""
