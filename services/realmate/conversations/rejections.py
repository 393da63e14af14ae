"""Rejected and expired events are kept with their reason, so that nobody has to ask what became of an event.

A rejection is written in the transaction that decides it. How many are kept for how long is the source's own setting.
"""

from __future__ import annotations

import msgspec

from realmate.domain.events import PASSING, PROMISES, Verdict
from realmate.wire.answers import rejected
from realmate.wire.commands import Command, MessageCommand, RejectedCommand
from realmate.wire.named import named
from realmate.wire.webhook import encode_event

NOT_KEPT = PROMISES | PASSING
"""Verdicts without a record. A sender that is rejected for now has its event still, and is told to send it again."""


class Rejection(msgspec.Struct, omit_defaults=True):
    """A row of its table."""

    source_id: int
    code: str
    detail: str
    request_id: str
    body: str
    conversation_id: str | None = None
    message_id: str | None = None
    idempotency_key: str | None = None
    """The key under which this rejection is remembered."""


def rejection_of(command: Command, verdict: Verdict, source_id: int) -> Rejection:
    """Return the record of a command that was rejected with this verdict."""
    if isinstance(command, RejectedCommand):
        mismatch = verdict is Verdict.IDEMPOTENCY_MISMATCH
        code, detail = (str(verdict), "") if mismatch else (command.code, command.detail)
        key = None if mismatch else command.origin.key or None  # a mismatched key is another event's
        return Rejection(
            source_id, code, detail, command.request_id, _bytea(command.body), *named(command.body), idempotency_key=key
        )
    return Rejection(
        source_id,
        str(verdict),
        rejected(command, verdict),
        command.request_id,
        _bytea(encode_event(command)),
        command.conversation_id,
        command.message_id if isinstance(command, MessageCommand) else None,
    )


def _bytea(content: bytes) -> str:
    return f"\\x{content.hex()}"
