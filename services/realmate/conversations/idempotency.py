"""Idempotency keys: every command with the same key gets what the first one got.

The marker of a key is written with what its command brings about. It is optimistic like all writing here: a key is new
until it violates the index. The second command then waits for the first one's commit, and finds the marker when it is
tried again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from realmate.conversations import statements
from realmate.conversations.cases import Case, Key
from realmate.domain.events import PASSING, Verdict
from realmate.runtime.transaction import Transaction
from realmate.wire.commands import Received, RejectedCommand, UnreadCommand
from realmate.wire.named import named


class _Marker(NamedTuple):
    digest: bytes
    verdict: Verdict


class Markers:
    """The idempotency markers of one transaction."""

    def __init__(self, transaction: Transaction, cases: Sequence[Case]) -> None:
        self._transaction = transaction
        self._cases = cases
        self._known: dict[Key, _Marker] = {}

    def load(self) -> None:
        """Load the markers that are stored."""
        wanted = sorted({case.key for case in self._cases if case.key is not None})
        if wanted:
            source_ids, texts = zip(*wanted, strict=True)
            for source_id, text, digest, verdict in self._transaction.fetch(
                statements.KNOWN_KEYS, list(source_ids), list(texts)
            ):
                self._known[Key(source_id, text)] = _Marker(bytes(digest), Verdict(verdict))

    def undecided(self) -> Iterator[Case]:
        """Yield the cases that must be decided: of several with one key, the first."""
        seen = set(self._known)
        for case in self._cases:
            if case.key is None or case.key not in seen:
                yield case
                if case.key is not None:
                    seen.add(case.key)

    def complete(self) -> None:
        """Give every case its verdict, now that the undecided ones are decided."""
        for case in self._cases:
            if case.decided is not None:
                case.verdict = case.decided
                if case.key is not None:
                    self._known[case.key] = _Marker(case.command.origin.digest, case.decided)
            elif case.key is not None:
                marker = self._known[case.key]
                is_same = marker.digest == case.command.origin.digest
                case.verdict = marker.verdict if is_same else Verdict.IDEMPOTENCY_MISMATCH

    def rows(self) -> list[dict[str, object]]:
        """Return the rows to store, in the order of their keys, so that two transactions never wait for each other.

        A rejection for now is not stored: the same request is decided again when it comes again.
        """
        new = {
            case.key: (case.command, case.decided)
            for case in self._cases
            if case.key is not None and case.decided is not None and case.decided not in PASSING
        }
        return [
            {
                "source_id": key.source_id,
                "key": key.text,
                "verdict": verdict,
                "digest": f"\\x{command.origin.digest.hex()}",
                "conversation_id": _conversation_of(command),
            }
            for key, (command, verdict) in sorted(new.items(), key=lambda item: item[0])
        ]


def _conversation_of(command: Received) -> str | None:
    """Return the conversation with which the marker is erased."""
    match command:
        case UnreadCommand():
            return None
        case RejectedCommand():
            return named(command.body).conversation_id
        case _:
            return command.conversation_id
