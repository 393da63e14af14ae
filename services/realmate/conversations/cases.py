"""A case: one command on its way through a transaction, with what is decided about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from realmate.conversations.rejections import NOT_KEPT, Rejection, rejection_of
from realmate.domain.events import Event, Verdict
from realmate.wire.commands import Received, RejectedCommand, UnreadCommand


class Key(NamedTuple):
    """An idempotency key. It belongs to its source, like all that a source sends."""

    source_id: int
    text: str


@dataclass(slots=True)
class Case:
    command: Received
    source_id: int
    key: Key | None
    event: Event | None
    """What the domain decides; None where the command is no event."""
    decided: Verdict | None = None
    """What this transaction has decided; None where it repeats what another command with its key got."""
    verdict: Verdict = Verdict.FAILED
    """What the sender is told."""

    @classmethod
    def of(cls, command: Received, source_ids: Mapping[str, int]) -> Case:
        origin = command.origin
        source_id = source_ids[origin.source]
        key = Key(source_id, origin.key) if origin.key else None
        event = None if isinstance(command, RejectedCommand | UnreadCommand) else command.event(source_id)
        return cls(command, source_id, key, event)

    @property
    def rejection(self) -> Rejection | None:
        """The record of the rejection; None where the command was not rejected, or only for now, or before."""
        command, verdict = self.command, self.verdict
        if verdict in NOT_KEPT or isinstance(command, UnreadCommand):  # nobody knows whose an unread one is
            return None
        if self.decided is None and verdict is not Verdict.IDEMPOTENCY_MISMATCH:
            return None
        return rejection_of(command, verdict, self.source_id)
