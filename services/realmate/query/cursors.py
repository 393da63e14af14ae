"""Cursors: where in the feed a reader stands. Opaque to readers, and no secret.

A cursor names the change that it stands at: its position, its moment and its mark. After a failover that lost
transactions, or a restore, positions are given again to other changes; the mark tells them apart (docs/adr/0018).
"""

from __future__ import annotations

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

_FORM = struct.Struct(">Bqqiii")
_VERSION = 1
BEFORE, END = -1, 2**31 - 1
"""Values of `Cursor.place`: before the first event of an entry, and behind its last."""
LAST_ENTRY = 2**31 - 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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
        moment_us = (self.at - _EPOCH) // timedelta(microseconds=1)
        packed = _FORM.pack(_VERSION, self.position, moment_us, self.mark, self.entry, self.place)
        return urlsafe_b64encode(packed).rstrip(b"=").decode()


def parse_cursor(text: str) -> Cursor:
    """Read what `Cursor.text` made. Raises ValueError."""
    try:
        version, position, moment_us, mark, entry, place = _FORM.unpack(
            urlsafe_b64decode(text + "=" * (-len(text) % 4))
        )
        at = _EPOCH + timedelta(microseconds=moment_us)
    except (ValueError, struct.error, OverflowError):
        raise ValueError("is no cursor of this API") from None
    if version != _VERSION or position < 0 or entry < 0 or place < BEFORE:
        raise ValueError("is no cursor of this API")
    return Cursor(position, at, mark, entry, place)
