"""Portions bound the work of one transaction. A portion is halved when it fails, and the sources share it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from realmate.domain.model import Conversation, ConversationId, HeldMessage
from realmate.runtime.database_errors import is_timeout

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 300.0
"""The pause before a conversation that was set aside is tried again. It doubles with each failure."""


class Portion(NamedTuple):
    """The most that one transaction takes. It is at least one conversation with one message."""

    conversations: int
    messages: int
    bytes: int
    """The contents of held messages that expire are copied; a reply names messages without reading their contents."""

    def shared_by(self, sources: int) -> Portion:
        """Return the share of each source, if so many share the portion."""
        return self._divided(max(1, sources))

    def halved(self) -> Portion:
        return self._divided(2)

    def doubled(self, most: Portion) -> Portion:
        return Portion(*(min(2 * each, limit) for each, limit in zip(self, most, strict=True)))

    @property
    def is_one(self) -> bool:
        """Whether the portion cannot be made smaller."""
        return self.conversations <= 1 and self.messages <= 1

    def _divided(self, by: int) -> Portion:
        return Portion(*(max(1, each // by) for each in self))


def plan(due: Iterable[Conversation], share: Portion) -> dict[ConversationId, int]:
    """Choose conversations in the order in which they are due. Return how many messages of each are to be processed.

    Each source has its own share. A group is answered as a whole, so the first conversation of a source is taken
    however large its group is.
    """
    left: dict[int, int] = {}
    chosen: dict[ConversationId, int] = {}
    for conversation in due:
        source_id = conversation.id.source_id
        is_first = source_id not in left
        room = left.setdefault(source_id, share.messages)
        if conversation.group is None:
            wanted = min(room, conversation.held_messages or room)  # 0: the version before did not count
        else:
            wanted = conversation.group.size
        if room > 0 and (is_first or wanted <= room):
            chosen[conversation.id] = wanted
            left[source_id] = room - wanted
        else:
            left[source_id] = 0
    return chosen


def cut(
    held: Mapping[ConversationId, list[HeldMessage]], chosen: Mapping[ConversationId, int], share: Portion
) -> dict[ConversationId, tuple[tuple[HeldMessage, ...], bool]]:
    """Return the oldest held messages of each conversation, as many as its source's bytes allow, and whether it has
    more.

    `held` has one more than was chosen where there are more. What has no room at all is left out.
    """
    left: dict[int, int] = {}
    taken: dict[ConversationId, tuple[tuple[HeldMessage, ...], bool]] = {}
    for key, messages in held.items():
        most = chosen[key]
        part: list[HeldMessage] = []
        for message in messages[:most]:
            room = left.setdefault(key.source_id, share.bytes)
            if room <= 0:
                break
            part.append(message)
            left[key.source_id] = room - message.bytes
        if part or not messages:
            taken[key] = (tuple(part), len(part) < len(messages))
    return taken


def in_portions(work: Callable[[int], bool], rows: int, *, until: float = float("inf"), pause_s: float = 0.0) -> None:
    """Call `work` with a number of rows until it says that nothing is left, or until `time.monotonic()` is `until`.

    After a timeout half as many rows are tried, down to one, and twice as many after each success, up to `rows`.
    Raises what `work` raises on a single row, and what is no timeout.
    """
    size = rows
    while time.monotonic() < until:
        try:
            if not work(size):
                return
            size = min(2 * size, rows)
        except Exception as error:
            if not is_timeout(error) or size == 1:
                raise
            size //= 2
        time.sleep(pause_s)
