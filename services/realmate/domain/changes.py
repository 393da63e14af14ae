"""What a transaction changed, as the feed of changes keeps it: which conversations, which positions, and what happened.

A change has no content. Whoever tells it reads the content from the messages, so that erasing reaches it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple
from uuid import UUID

from realmate.domain.model import MessageKind


class What(IntEnum):
    """What happened to a conversation in one transaction: the numbers are bits of one number, and are stored.

    It is no IntFlag, since `|` of those costs a microsecond, and this is on every event's way.
    """

    OPENED = 1
    MESSAGES = 2
    """Messages or replies came, in the range of the positions."""
    EXPIRED = 4
    """Held messages waited in vain, in the range of the positions."""
    CLOSED = 8
    ERASED = 16


MESSAGE_TYPES = {
    MessageKind.INBOUND: "message.received",
    MessageKind.OUTBOUND: "reply.created",
    MessageKind.EXPIRED: "message.expired",
}
ERASED_TYPE = "conversation.erased"
EVENT_TYPES = ("conversation.opened", *MESSAGE_TYPES.values(), "conversation.closed", ERASED_TYPE)
"""What the events of the feed are called."""


class Touched(NamedTuple):
    """One conversation in one transaction."""

    conversation_id: str
    source_id: int
    first_position: int
    """The first position (`seq`) of the messages that came or expired; 0 where there is none."""
    last_position: int
    what: int


_ENTRY = struct.Struct(">16siiiB")


def encode(touched: Iterable[Touched]) -> bytes:
    """Return the entries as they are stored: 29 bytes each."""
    return b"".join(_ENTRY.pack(bytes.fromhex(each.conversation_id.replace("-", "")), *each[1:]) for each in touched)


def decode(entries: bytes) -> Iterator[Touched]:
    """Yield the entries. Raises struct.error where these bytes are none."""
    for conversation_id, *rest in _ENTRY.iter_unpack(entries):
        yield Touched(str(UUID(bytes=conversation_id)), *rest)
