"""Finds the commands that make a transaction fail, so that nobody else's command fails with them.

A transaction that failed, and not for an outage, is tried in halves, and the failing halves in halves again, until each
guilty command is alone. Each trial does all the work and is rolled back. So nothing is applied in parts: afterwards the
whole batch is applied once, in one transaction, with the guilty commands replaced by a verdict.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from realmate.domain.events import Verdict
from realmate.runtime.database_errors import StatementFailed, is_conflict, is_outage
from realmate.sources.names import is_name
from realmate.wire.answers import rejected
from realmate.wire.commands import Origin, Received, RejectedCommand, UnreadCommand
from realmate.wire.webhook import encode_event

_NO_EVENTS_FAULT = ("28", "3D", "3F", "42")
"""A right, a database, a schema, a table is missing: every event would fail alike."""
_FAULTS_OF_THE_EVENT = ("22", "23", "54")
"""Data that cannot be stored, a violated constraint, a limit of Postgres: the same event would always fail."""


class Guilty(NamedTuple):
    position: int
    """The position of the command in the batch."""
    error: Exception | None
    """Why it failed; None: there was no time to find out whether it does."""


class SpoiledCommand(RejectedCommand, frozen=True, tag=5):
    """Stands where a command stood that made the transaction fail. It never travels."""

    outcome: Verdict = Verdict.FAILED

    @property
    def verdict(self) -> Verdict:
        return self.outcome


def may_be_an_events(error: Exception) -> bool:
    """Whether some of the events alone may have caused the failure."""
    if isinstance(error, StatementFailed):
        return not (error.code or "").startswith(_NO_EVENTS_FAULT)
    return not (is_outage(error) or is_conflict(error))


def find_guilty(count: int, try_out: Callable[[Sequence[int]], None], *, until: float) -> list[Guilty]:
    """Find by trials which of `count` commands fail. Raises what an outage or a conflict raises.

    What could not be tried before `until` (a `time.monotonic()`) counts as guilty: the rest must not wait for it.
    """
    guilty: list[Guilty] = []
    suspects: deque[Sequence[int]] = deque(_halves(range(count)))
    while suspects:
        indices = suspects.popleft()
        if time.monotonic() >= until:
            guilty += [Guilty(index, None) for index in indices]
            continue
        try:
            try_out(indices)
        except Exception as error:
            if not may_be_an_events(error):
                raise
            if len(indices) == 1:
                guilty.append(Guilty(indices[0], error))
            else:
                suspects.extend(_halves(indices))
    return guilty


def spoiled(command: Received, error: Exception | None) -> Received:
    """Return what replaces a guilty command.

    It has no idempotency key, so the same event is looked at again when it is sent again.
    """
    if isinstance(command, UnreadCommand):
        return command
    if not is_name(command.origin.source):
        return UnreadCommand("its source has no name that a source can have")
    is_its_fault = isinstance(error, StatementFailed) and (error.code or "").startswith(_FAULTS_OF_THE_EVENT)
    outcome = Verdict.UNSTORABLE if is_its_fault else Verdict.FAILED
    origin = Origin(command.origin.source)
    if isinstance(command, RejectedCommand):
        return SpoiledCommand(_printable(command.request_id), outcome, "", command.body, origin, outcome)
    body, detail = encode_event(command), rejected(command, outcome)
    return SpoiledCommand(_printable(command.request_id), outcome, detail, body, origin, outcome)


def _halves(indices: Sequence[int]) -> list[Sequence[int]]:
    middle = len(indices) // 2
    return [half for half in (indices[:middle], indices[middle:]) if half]


def _printable(text: str) -> str:
    """It may be what cannot be stored."""
    return text if text.isascii() and text.isprintable() else ascii(text)[1:-1]
