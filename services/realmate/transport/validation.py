"""The checks of what a broker delivers, field by field, before anybody works with it.

Who has the broker's password can put anything into it. What no Realmate sends is dropped, counted by its reason, and
logged without its contents: one line a reason and minute, because a flood of it must not become a flood of lines.
"""

from __future__ import annotations

import time

import structlog

from realmate.transport import metrics

LOG_AGAIN_S = 60.0
MAX_NAME_BYTES = 128
"""The most bytes of an id, or of the address of a response. Ours have 32 and 49 characters."""
MAX_TIMEOUT_MS = 60_000
"""The largest COMMAND_TIMEOUT_S. Nobody waits longer for a batch."""
MAX_ATTEMPTS = 1_000_000

log = structlog.get_logger(__name__)


class Unreadable(Exception):
    """A message that no Realmate sends. The text is the reason, always one of a few: it is a metric's label."""


def name(value: object, field: str) -> str:
    """An id or an address: a short printable ASCII text. Raises Unreadable."""
    if isinstance(value, bytes):
        value = value.decode("ascii", "replace")
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME_BYTES:
        raise Unreadable(field)
    if not (value.isascii() and value.isprintable()):
        raise Unreadable(field)
    return value


def number(value: object, field: str, *, lowest: int, highest: int) -> int:
    """A whole number in its decimal digits. Raises Unreadable, for a number that is out of its range, too."""
    digits = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
    if not (digits.isascii() and digits.isdecimal() and len(digits) <= len(str(highest))):
        raise Unreadable(field)
    if not lowest <= int(digits) <= highest:
        raise Unreadable(field)
    return int(digits)


def timeout_ms(value: object) -> int:
    """Return how long the caller waits. Raises Unreadable."""
    return number(value, "timeout", lowest=0, highest=MAX_TIMEOUT_MS)


def attempt(value: object) -> int:
    """Return how often the caller has sent the batch. Raises Unreadable."""
    return number(value, "attempt", lowest=1, highest=MAX_ATTEMPTS)


class DroppedMessages:
    """Counts and logs what was dropped."""

    def __init__(self, what: str) -> None:
        """`what` is `command` or `reply`."""
        self._what = what
        self._logged_at: dict[str, float] = {}

    def record(self, reason: str) -> None:
        metrics.REJECTED.labels(self._what, reason).inc()
        now = time.monotonic()
        if now - self._logged_at.get(reason, -LOG_AGAIN_S) >= LOG_AGAIN_S:
            self._logged_at[reason] = now
            log.error(
                "unreadable message dropped", what=self._what, reason=reason, told="once a minute for each reason"
            )
