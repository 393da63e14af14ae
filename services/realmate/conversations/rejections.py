"""Rejected and expired events are kept with their reason, so that nobody has to ask what became of an event.

A rejection is written in the transaction that decides it. How many are kept for how long is the source's own setting.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from realmate.domain.events import PASSING, PROMISES, Verdict
from realmate.wire.answers import rejected
from realmate.wire.commands import Command, MessageCommand, Received, RejectedCommand, UnreadCommand
from realmate.wire.named import named
from realmate.wire.webhook import encode_event

NOT_KEPT = PROMISES | PASSING


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


def rejections(
    commands: Sequence[Received], verdicts: Sequence[Verdict], decided: Mapping[int, Verdict], ids: Mapping[str, int]
) -> Iterator[tuple[str, Rejection]]:
    """Yield each rejection with its source's name.

    What was rejected for now is not kept: its sender has it still, and is told to send it again.
    """
    for place, verdict in enumerate(verdicts):
        if verdict in NOT_KEPT:
            continue
        command = commands[place]
        if isinstance(command, UnreadCommand):  # nobody knows whose it is
            continue
        if place in decided or verdict is Verdict.IDEMPOTENCY_MISMATCH:
            source = command.origin.source
            yield source, _rejection(command, verdict, ids[source])


def _rejection(command: Command, verdict: Verdict, source_id: int) -> Rejection:
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
