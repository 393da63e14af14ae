"""What the laws look at: everything that is known about one conversation, from the history and from the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from history import Attempt, Event, History, Read
from realmate.domain.model import MessageKind
from stored import Stored, StoredConversation, StoredMessage

OPEN, SAY, CLOSE = "NEW_CONVERSATION", "NEW_MESSAGE", "CLOSE_CONVERSATION"


class Violation(NamedTuple):
    kind: Literal["lost", "duplicated", "wrong"]
    conversation: str
    at: float
    what: str


@dataclass(frozen=True)
class Terms:
    """What the contract's numbers are, and how the database's clock relates to the history's."""

    window: timedelta
    tolerance: timedelta
    epoch: datetime
    """The hour at CLOCK_MONOTONIC's zero."""
    clock_jumps: Sequence[tuple[float, float]] = ()
    """When the database's clock was wrong, on the history's clock. What was stored then says nothing about time."""

    def moment(self, at: float) -> datetime:
        return self.epoch + timedelta(seconds=at)


class Told(NamedTuple):
    """One attempt with the event it belongs to."""

    event: Event
    attempt: Attempt

    @property
    def verdict(self) -> str:
        return self.attempt.verdict if self.attempt.decided else ""

    @property
    def sent_at(self) -> float:
        """Not later than it was decided: with a key, an attempt may be told what an earlier one brought about."""
        return self.event.at if self.event.source else self.attempt.sent_at

    @property
    def ended_at(self) -> float:
        return self.attempt.ended_at


@dataclass
class Case:
    """All there is about one conversation."""

    id: str
    terms: Terms
    stored: StoredConversation | None
    messages: list[StoredMessage]
    """In the order of arrival."""
    everywhere: Mapping[str, StoredMessage]
    """Any conversation's messages: an id may be taken elsewhere."""
    content_of: dict[str, set[tuple[str, str]]]
    """What was ever sent under a message's id: (conversation, content)."""
    told: list[Told] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    unanswered: list[Event] = field(default_factory=list)

    def wrong(self, at: float, what: str) -> Violation:
        return Violation("wrong", self.id, at, what)

    def lost(self, at: float, what: str) -> Violation:
        return Violation("lost", self.id, at, what)

    def duplicated(self, at: float, what: str) -> Violation:
        return Violation("duplicated", self.id, at, what)

    @property
    def began_at(self) -> float:
        """Its first request; 0 where nobody ever asked."""
        return min((each.sent_at for each in self.told), default=0.0)

    def of(self, kind: MessageKind) -> list[StoredMessage]:
        return [message for message in self.messages if message.kind is kind]

    def attempts(self, type_: str, *verdicts: str) -> list[Told]:
        """Those of one type, told one of these verdicts (none given: all)."""
        return [each for each in self.told if each.event.kind == type_ and (not verdicts or each.verdict in verdicts)]

    @property
    def keeps_time(self) -> bool:
        """Whether the database's clock was right all the while."""
        moments = [moment for each in self.told for moment in (each.sent_at, each.ended_at)]
        # What is stored happens up to a hold and a group after the last request.
        end = max(moments, default=0) + self.terms.window.total_seconds() + self.terms.tolerance.total_seconds()
        return not any(start <= end and min(moments, default=0) <= stop for start, stop in self.terms.clock_jumps)


def cases(history: History, stored: Stored, terms: Terms) -> Iterable[Case]:
    content_of: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for event in history.events.values():
        content_of[event.message].add((event.conversation, event.content))
    of_conversation = defaultdict(list)
    for message in stored.messages.values():
        of_conversation[message.conversation].append(message)
    found: dict[str, Case] = {}

    def case(key: str) -> Case:
        if key not in found:
            messages = sorted(of_conversation[key], key=lambda message: message.seq)
            found[key] = Case(key, terms, stored.conversations.get(key), messages, stored.messages, content_of)
        return found[key]

    for key in [*stored.conversations, *of_conversation]:
        case(key)
    for event in history.events.values():
        case(event.conversation).told += [Told(event, attempt) for attempt in history.attempts[event.number]]
        if history.answer(event) is None:
            case(event.conversation).unanswered.append(event)
    for read in history.reads:
        case(read.conversation).reads.append(read)
    return found.values()
