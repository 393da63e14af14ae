"""What a person does who operates a Realmate, whether the console does it or this process does, at the database.

The commands show what comes of it, and know this interface alone. So both ways print the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from realmate.admin.database import AdminError
from realmate.admin.erasures import Erasure
from realmate.admin.rejections import Filter, Rejection, Summary
from realmate.admin.replay import ReplayAction
from realmate.conversations.erasing import Erased


class NoSuchSource(AdminError):
    def __init__(self, source: str) -> None:
        super().__init__(f"no event of a source {source} ever came")


class NothingOfIt(AdminError):
    def __init__(self, source: str, conversation_id: str, hint: str = "") -> None:
        super().__init__(f"source {source} has nothing of conversation {conversation_id}{hint}")


class Planned(NamedTuple):
    """What a replay does with the rejections of one code."""

    code: str
    events: int
    action: ReplayAction


class Progress(NamedTuple):
    """How far a replay is."""

    sent: int
    answers: Mapping[str, int]
    """How many events got which response, as in `202 accepted`."""


class Erasing(NamedTuple):
    """All of a source, while it is erased."""

    conversations: int | None
    """How many there were at the beginning, where that is known."""
    portions: Iterator[Erased]


class Operations(Protocol):
    """Each method raises UserError where it cannot be done."""

    def newest(self, which: Filter, limit: int) -> Sequence[Summary]:
        """Return the newest rejections, the oldest of them first. They are whole where that costs nothing."""

    def find(self, number: int) -> Rejection | None: ...

    def plan(self, which: Filter) -> Sequence[Planned]:
        """Return what a replay would do, in the order of the codes."""

    def replay(self, which: Filter, rate: float) -> Iterator[Progress]:
        """Send again what can bring another answer. Events that arrive meanwhile are not included."""

    def erase_conversation(self, source: str, conversation_id: str) -> Iterator[Erased]:
        """Erase it in portions. Raises NoSuchSource, and NothingOfIt."""

    def erase_source(self, source: str) -> Erasing:
        """Erase all that a source ever sent. Raises NoSuchSource."""

    def erasures(self, limit: int) -> Sequence[Erasure]:
        """Return the history, the newest first."""

    def export(self, source: str, conversation_id: str) -> bytes:
        """Return all that is kept about a conversation, as JSON. Raises NothingOfIt."""
