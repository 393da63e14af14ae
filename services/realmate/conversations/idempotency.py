"""Commands that came with an idempotency key: what the first one got, every further one gets.

The marker is written with what the command brings about. It is optimistic like all writing here: a key is new until it
is violated; who comes second waits for the first one's commit then, and in its next attempt finds the marker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from realmate.conversations import statements
from realmate.domain.events import PASSING, Verdict
from realmate.runtime.transaction import Transaction
from realmate.wire.commands import Received, RejectedCommand, UnreadCommand
from realmate.wire.named import named


class Key(NamedTuple):
    """A source's own, like all that it sends."""

    source_id: int
    text: str


class _Marker(NamedTuple):
    digest: bytes
    verdict: Verdict


class Markers:
    """The idempotency markers of one transaction."""

    def __init__(self, transaction: Transaction, commands: Sequence[Received], source_ids: Mapping[str, int]) -> None:
        self._transaction = transaction
        self._commands = commands
        self._keys = [
            Key(source_ids[each.origin.source], each.origin.key) if each.origin.key else None for each in commands
        ]
        self._known: dict[Key, _Marker] = {}

    def look(self) -> None:
        """Load what is stored."""
        wanted = sorted({key for key in self._keys if key is not None})
        if wanted:
            source_ids, texts = zip(*wanted, strict=True)
            for source_id, text, digest, verdict in self._transaction.fetch(
                statements.KNOWN_KEYS, list(source_ids), list(texts)
            ):
                self._known[Key(source_id, text)] = _Marker(bytes(digest), Verdict(verdict))

    def new(self) -> list[int]:
        """The places of the commands that are to be decided: of several with one key, the first."""
        seen = set(self._known)
        places = []
        for place, key in enumerate(self._keys):
            if key is None or key not in seen:
                places.append(place)
                if key is not None:
                    seen.add(key)
        return places

    def complete(self, decided: Mapping[int, Verdict]) -> list[Verdict]:
        """The verdict of every command, from those of the decided ones by their places."""
        for place, verdict in decided.items():
            key = self._keys[place]
            if key is not None:
                self._known[key] = _Marker(self._commands[place].origin.digest, verdict)
        return [decided[place] if key is None else self._of(place, key) for place, key in enumerate(self._keys)]

    def rows(self, decided: Mapping[int, Verdict]) -> list[dict[str, object]]:
        """Return the rows to store, in the order of their keys, so that two transactions never wait for each other.

        A rejection for now is not stored: the same request again is decided anew.
        """
        new = sorted(
            (key, place)
            for place, verdict in decided.items()
            if (key := self._keys[place]) is not None and verdict not in PASSING
        )
        return [
            {
                "source_id": key.source_id,
                "key": key.text,
                "verdict": decided[place],
                "digest": f"\\x{self._commands[place].origin.digest.hex()}",
                "conversation_id": _conversation_of(self._commands[place]),
            }
            for key, place in new
        ]

    def _of(self, place: int, key: Key) -> Verdict:
        marker = self._known[key]
        return marker.verdict if marker.digest == self._commands[place].origin.digest else Verdict.IDEMPOTENCY_MISMATCH


def _conversation_of(command: Received) -> str | None:
    """The conversation with which the marker is to be erased."""
    match command:
        case UnreadCommand():
            return None
        case RejectedCommand():
            return named(command.body).conversation_id
        case _:
            return command.conversation_id
