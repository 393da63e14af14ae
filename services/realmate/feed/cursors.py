"""Cursors: where in the feed a reader stands. Opaque to readers, and no secret.

A cursor names the change that it stands at: its position, its moment and its mark. After a failover that lost
transactions, or a restore, positions are given again to other changes; the mark tells them apart (docs/adr/0018).
"""

from __future__ import annotations

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

_FORM = struct.Struct(">Bqqiii")
_VERSION = 1
BEFORE, END = -1, 2**31 - 1
"""Values of `Cursor.place`: before the first event of an entry, and behind its last."""
LAST_ENTRY = 2**31 - 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Cursor(NamedTuple):
    """The place behind one event."""

    position: int
    """The change's. 0: before the first one."""
    at: datetime
    """The moment of that change."""
    mark: int
    entry: int = LAST_ENTRY
    """The number of the entry within the change."""
    place: int = END
    """The place within the entry: a message's position, or one of those in `feed`."""

    @property
    def key(self) -> tuple[int, int, int]:
        """What orders events."""
        return self.position, self.entry, self.place

    def text(self) -> str:
        return packed(_FORM, _VERSION, self.position, to_us(self.at), self.mark, self.entry, self.place)


def parse_cursor(text: str) -> Cursor:
    """Read what `Cursor.text` made. Raises ValueError."""
    try:
        version, position, moment_us, mark, entry, place = unpacked(_FORM, text)
        at = from_us(moment_us)
    except (ValueError, OverflowError):
        raise ValueError("is no cursor of this API") from None
    if version != _VERSION or position < 0 or entry < 0 or place < BEFORE:
        raise ValueError("is no cursor of this API")
    return Cursor(position, at, mark, entry, place)


def packed(form: struct.Struct, *values: object) -> str:
    """Return the values as a text that may stand in a query string."""
    return encoded(form.pack(*values))


def unpacked(form: struct.Struct, text: str) -> tuple[Any, ...]:
    """Read what `packed` made. Raises ValueError."""
    try:
        return form.unpack(decoded(text))
    except struct.error as error:
        raise ValueError(str(error)) from None


def encoded(data: bytes) -> str:
    """Return bytes as a text that may stand in a query string."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def decoded(text: str) -> bytes:
    """Read what `encoded` made. Raises ValueError."""
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def to_us(moment: datetime) -> int:
    """Return a moment as microseconds since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def from_us(moment_us: int) -> datetime:
    """Return the moment that `to_us` was given. Raises OverflowError."""
    return EPOCH + timedelta(microseconds=moment_us)
