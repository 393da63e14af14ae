"""How much each source has waiting for conversations that do not exist yet. What a source may have waiting is bounded.

The count is what the database said a second ago, and what this process has added since. So it costs no event anything.
It is not exact: with several processes a source may get so much too far as the others take from it in that second, and
what has expired or entered its conversation makes room only with the next count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from realmate.conversations import metrics, statements
from realmate.domain.model import HeldMessage, Rules
from realmate.runtime.transaction import Transactions


@dataclass
class Held:
    messages: int = 0
    bytes: int = 0


class Holding:
    """What this process knows of the held messages."""

    def __init__(self) -> None:
        self._of: defaultdict[int, Held] = defaultdict(Held)

    def count(self, db: Transactions) -> None:
        """Ask the database."""
        rows = db.fetch(statements.HELD_OF_SOURCES)
        self._of = defaultdict(Held, {source_id: Held(messages, size) for source_id, messages, size in rows})
        metrics.HELD_MESSAGES.set(sum(held.messages for held in self._of.values()))

    def add(self, source_id: int, messages: Iterable[HeldMessage]) -> None:
        held = self._of[source_id]
        for message in messages:
            held.messages += 1
            held.bytes += message.bytes

    def room(self, source_id: int, rules: Rules) -> Rules:
        """The rules for one more message: nothing more is held for a source that has its share."""
        held = self._of[source_id]
        return replace(rules, hold_max_messages=0) if _is_full(held, rules) else rules


def _is_full(held: Held, rules: Rules) -> bool:
    most, most_bytes = rules.hold_total_messages, rules.hold_total_bytes
    return (most is not None and held.messages >= most) or (most_bytes is not None and held.bytes >= most_bytes)
