"""The checker sees what it is there to see: histories that are right pass, and each kind of wrong is caught.

A story is told in seconds; what is stored in the end is written beside it. Each test doctors one thing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import msgspec
import pytest

from cases import CLOSE, OPEN, SAY, Terms
from checker import check
from history import Attempt, Event, History, Read, Record
from laws_of_verdicts import STATUS_OF
from realmate.domain.model import MessageKind, Status
from stored import Stored, StoredConversation, StoredMessage

T0 = datetime(2026, 11, 23, tzinfo=UTC)
SENT_AT = datetime(2025, 6, 4, tzinfo=UTC)
TERMS = Terms(window=timedelta(seconds=5), tolerance=timedelta(seconds=6), epoch=T0)
C = "c"


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


class Story:
    """Requests and their answers, and what is stored in the end."""

    def __init__(self, source: str = "") -> None:
        self.source = source
        self.records: list[Record] = []
        self.stored = Stored({}, {})
        self.terms = TERMS
        self._numbers = count()

    def asks(self, kind: str, verdict: str, when: float, *, message: str = "", took: float = 0.1) -> None:
        """One event with one attempt. Verdict "": no answer; the event is answered by a later `asks_again`."""
        number = next(self._numbers)
        status = STATUS_OF.get((kind, verdict), 503)
        self.records += [
            Event(number, when, kind, C, SENT_AT.isoformat(), message, "Oi" if message else "", self.source),
            Attempt(number, when, when + took, status, verdict),
        ]

    def asks_again(self, verdict: str, when: float) -> None:
        """The last event once more."""
        event = next(record for record in reversed(self.records) if isinstance(record, Event))
        status = STATUS_OF[event.kind, verdict]
        self.records.append(Attempt(event.number, when, when + 0.1, status, verdict))

    def reads(self, when: float, state: str, inbound: list[str], replies: list[list[str]], status: int = 200) -> None:
        shown = tuple(tuple(reply) for reply in replies)
        self.records.append(Read(C, when, when + 0.1, status, state, tuple(inbound), shown))

    def keeps(self, status: Status, created: float | None, updated: float | None) -> None:
        moments = [None if moment is None else at(moment) for moment in (created, updated)]
        self.stored.conversations = {C: StoredConversation(C, status, *moments)}

    def keeps_message(
        self, key: str, kind: MessageKind, when: float, content: str = "Oi", timestamp: datetime = SENT_AT
    ) -> None:
        seq = len(self.stored.messages) + 1
        message = StoredMessage(key, C, seq, kind, content, timestamp, at(when))
        self.stored.messages = {**self.stored.messages, key: message}

    def keeps_reply(self, when: float, *named: str) -> None:
        self.keeps_message(
            f"reply-{when}", MessageKind.OUTBOUND, when, "\n".join(["Mensagens recebidas:", *named]), at(when)
        )

    def changes(self, key: str, **fields: object) -> None:
        message = replace(self.stored.messages[key], **fields)  # type: ignore[arg-type]
        self.stored.messages = {**self.stored.messages, key: message}

    def forgets(self, key: str) -> None:
        self.stored.messages = {name: message for name, message in self.stored.messages.items() if name != key}

    def answers(self, old: str, new: str) -> None:
        """Doctor the first answer `old`."""
        index = next(i for i, each in enumerate(self.records) if isinstance(each, Attempt) and each.verdict == old)
        attempt = self.records[index]
        assert isinstance(attempt, Attempt)
        event = next(each for each in self.records if isinstance(each, Event) and each.number == attempt.event)
        status = STATUS_OF.get((event.kind, new), 503)
        self.records[index] = msgspec.structs.replace(attempt, verdict=new, status=status)

    def found(self) -> list[str]:
        return [f"{each.kind}: {each.what}" for each in check(History.of(*self.records), self.stored, self.terms)]


def an_afternoon() -> Story:
    """Two groups, a close with the second one pending, and what is told afterwards."""
    story = Story()
    story.asks(OPEN, "created", 0)
    story.asks(SAY, "accepted", 1, message="a")
    story.asks(SAY, "accepted", 3, message="b")
    story.asks(SAY, "duplicate", 4, message="b")
    story.reads(5, "OPEN", ["a", "b"], [])
    story.asks(SAY, "accepted", 10, message="d")
    story.asks(CLOSE, "closed", 11)
    story.reads(12, "CLOSED", ["a", "b", "d"], [["a", "b"], ["d"]])
    story.asks(SAY, "conversation_closed", 13, message="e")
    story.asks(OPEN, "conversation_exists", 14)
    story.asks(CLOSE, "conversation_already_closed", 15)
    story.keeps(Status.CLOSED, 0.05, 11.05)
    story.keeps_message("a", MessageKind.INBOUND, 1.05)
    story.keeps_message("b", MessageKind.INBOUND, 3.05)
    story.keeps_reply(8.1, "a", "b")
    story.keeps_message("d", MessageKind.INBOUND, 10.05)
    story.keeps_reply(11.05, "d")
    return story


def an_early_bird() -> Story:
    """One message that waited in vain, one that did not; then the conversation."""
    story = Story()
    story.asks(SAY, "held", 0, message="vain")
    story.asks(SAY, "held", 5, message="early")
    story.reads(6, "", [], [], status=404)
    story.asks(OPEN, "created", 9)
    story.asks(SAY, "hold_expired", 10, message="vain")
    story.asks(SAY, "duplicate", 10, message="early")
    story.keeps(Status.OPEN, 9.05, 10.1)
    story.keeps_message("vain", MessageKind.EXPIRED, 0.05)
    story.keeps_message("early", MessageKind.INBOUND, 5.05)
    story.keeps_reply(10.1, "early")
    return story


def a_lost_answer() -> Story:
    """503s hide what was committed: sending again tells what is true."""
    story = Story()
    story.asks(OPEN, "", 0, took=5)
    story.asks_again("conversation_exists", 6)
    story.asks(SAY, "", 7, message="a", took=5)
    story.asks_again("duplicate", 13)
    story.asks(CLOSE, "", 20, took=5)
    story.asks_again("conversation_already_closed", 26)
    story.keeps(Status.CLOSED, 2, 27)
    story.stored.conversations = {C: StoredConversation(C, Status.CLOSED, at(2), at(22))}
    story.keeps_message("a", MessageKind.INBOUND, 9)
    story.keeps_reply(14.1, "a")
    return story


def a_lost_answer_with_a_key() -> Story:
    """The first answer comes late, when others were told already what it brought about."""
    story = Story("shop")
    story.asks(OPEN, "", 0, took=5)
    story.asks(SAY, "accepted", 5.5, message="a")
    story.asks(OPEN, "conversation_exists", 5.8)
    story.records.append(Attempt(0, 6, 6.1, 201, "created"))
    story.keeps(Status.OPEN, 2, 10.6)
    story.keeps_message("a", MessageKind.INBOUND, 5.55)
    story.keeps_reply(10.6, "a")
    return story


STORIES = [an_afternoon, an_early_bird, a_lost_answer, a_lost_answer_with_a_key]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_what_is_right_passes(story: Callable[[], Story]) -> None:
    assert story().found() == []


Doctoring = tuple[Callable[[], Story], Callable[[Story], object], str]

DOCTORED: dict[str, Doctoring] = {
    "an accepted message is gone": (an_afternoon, lambda s: s.forgets("b"), "lost: message b was told 'accepted'"),
    "it has other words": (an_afternoon, lambda s: s.changes("b", content="x"), "lost: message b was told 'accepted'"),
    "an accepted message expired": (an_afternoon, lambda s: s.changes("b", kind=MessageKind.EXPIRED), "and is EXPIRED"),
    "a held message is gone": (an_early_bird, lambda s: s.forgets("vain"), "lost: message vain was told 'held'"),
    "the conversation is gone": (an_early_bird, lambda s: s.keeps(Status.PENDING, None, None), "told 'created' and is"),
    "the close is gone": (an_afternoon, lambda s: s.keeps(Status.OPEN, 0.05, 11.05), "told 'closed' and is OPEN"),
    "a message is in no reply": (an_afternoon, lambda s: s.forgets("reply-11.05"), "lost: message d is in no reply"),
    "a message is in two replies": (
        an_afternoon, lambda s: s.keeps_reply(11.05, "b"), "duplicated: message b is in 2 replies"
    ),
    "a reply names a stranger": (an_afternoon, lambda s: s.keeps_reply(11.05, "zz"), "names zz, which is not"),
    "a reply names an expired message": (an_early_bird, lambda s: s.keeps_reply(12, "vain"), "names vain, which"),
    "a reply is in the wrong order": (
        an_afternoon, lambda s: s.changes("reply-8.1", content="Mensagens recebidas:\nb\na"), "wrong: a reply reads"
    ),
    "two groups are one": (
        an_afternoon,
        lambda s: (s.forgets("reply-11.05"), s.changes("reply-8.1", content="Mensagens recebidas:\na\nb\nd")),
        "wrong: the groups are",
    ),
    "one group is two": (
        an_afternoon,
        lambda s: (s.changes("reply-8.1", content="Mensagens recebidas:\na"), s.keeps_reply(8.2, "b")),
        "wrong: the groups are",
    ),
    "a reply came too soon": (an_afternoon, lambda s: s.changes("reply-8.1", arrived_at=at(7)), "after the last"),
    "a message came after the close": (an_afternoon, lambda s: s.changes("d", arrived_at=at(11.2)), "after the close"),
    "a reply came after the close": (
        an_afternoon, lambda s: s.changes("reply-11.05", arrived_at=at(17)), "arrived after the close"
    ),
    "a message arrived before it was sent": (
        an_afternoon, lambda s: s.changes("a", arrived_at=at(0.5)), "wrong: message a arrived at"
    ),
    "a message arrived after its answer": (
        an_afternoon, lambda s: s.changes("a", arrived_at=at(2)), "wrong: message a arrived at"
    ),
    "a message waited too long and was let in": (
        an_early_bird, lambda s: s.keeps(Status.OPEN, 11.2, 12), "was let in after waiting"
    ),
    "a message expired too soon": (
        an_early_bird,
        lambda s: s.changes("early", kind=MessageKind.EXPIRED),
        "though it waited",
    ),
    "a message is still held": (an_early_bird, lambda s: s.changes("vain", kind=MessageKind.HELD), "is still held"),
    "work is still due": (
        an_early_bird,
        lambda s: s.stored.__setattr__(
            "conversations", {C: StoredConversation(C, Status.OPEN, at(9.05), at(9.05), due_at=at(3600))}
        ),
        "still has work due",
    ),
    "a rejected message is stored": (
        an_afternoon,
        lambda s: s.keeps_message("e", MessageKind.INBOUND, 10.5),
        "message e is stored; its senders were told",
    ),
    "nobody sent it": (an_afternoon, lambda s: s.keeps_message("zz", MessageKind.INBOUND, 1), "message zz is stored"),
    "nobody opened it": (an_afternoon, lambda s: s.answers("created", "conversation_exists"), "nobody can have opened"),
    "nobody closed it": (
        an_early_bird, lambda s: s.keeps(Status.CLOSED, 9.05, 10.1), "is CLOSED, and nobody can have closed it"
    ),
    "it was created twice": (
        an_afternoon, lambda s: s.asks(OPEN, "created", 0.05), "duplicated: NEW_CONVERSATION created was told 2 times"
    ),
    "it was closed twice": (
        an_afternoon, lambda s: s.asks(CLOSE, "closed", 11.05), "duplicated: CLOSE_CONVERSATION closed was told 2 times"
    ),
    "it was accepted twice": (
        an_afternoon, lambda s: s.answers("duplicate", "accepted"), "duplicated: message b stored was told 2 times"
    ),
    "it was created after it existed": (
        an_afternoon, lambda s: s.answers("conversation_exists", "created"), "'created' after 'created'"
    ),
    "a message was accepted after the close": (
        an_afternoon, lambda s: s.asks(SAY, "accepted", 16, message="f"), "told 'accepted' after 'closed'"
    ),
    "a message was held after the opening": (
        an_afternoon, lambda s: s.asks(SAY, "held", 2, message="f"), "told 'held' after 'created'"
    ),
    "an open conversation was not found": (
        an_afternoon, lambda s: s.answers("conversation_already_closed", "conversation_not_found"), "after 'created'"
    ),
    "it existed for no reason": (
        an_early_bird, lambda s: s.asks(OPEN, "conversation_exists", 8), "'conversation_exists' without a cause"
    ),
    "it was closed for no reason": (
        an_early_bird,
        lambda s: s.asks(SAY, "conversation_closed", 12, message="f"),
        "'conversation_closed' without a cause",
    ),
    "a message was a duplicate of nothing": (
        an_afternoon, lambda s: s.answers("accepted", "duplicate"), "message a was told 'duplicate' without a cause"
    ),
    "a key was not known again": (
        a_lost_answer_with_a_key,
        lambda s: (s.asks(SAY, "", 20, message="b"), s.asks_again("duplicate", 26)),
        "message b was told 'duplicate' without a cause",
    ),
    "without a key it was created after it existed": (
        a_lost_answer_with_a_key,
        lambda s: s.records.__setitem__(0, msgspec.structs.replace(s.records[0], source="")),
        "'created' after 'accepted'",
    ),
    "a message waited for nothing": (
        an_afternoon, lambda s: s.answers("duplicate", "hold_expired"), "'hold_expired' without a cause"
    ),
    "a conflict was nobody's": (
        an_afternoon, lambda s: s.answers("duplicate", "message_conflict"), "told a conflict nobody made"
    ),
    "an expired message was a duplicate": (
        an_early_bird, lambda s: s.answers("hold_expired", "duplicate"), "told 'duplicate' after its hold was over"
    ),
    "a message expired before its time": (
        an_early_bird,
        lambda s: s.asks(SAY, "hold_expired", 3, message="vain"),
        "told 'hold_expired' before its hold was over",
    ),
    "an answer is none of ours": (
        an_afternoon,
        lambda s: s.records.append(Attempt(0, 20, 20.1, 500, "internal_error")),
        "wrong: NEW_CONVERSATION got 500",
    ),
    "an event was never answered": (an_afternoon, lambda s: s.asks(SAY, "", 10.5, message="f"), "was never answered"),
    "a GET missed a promise": (
        an_afternoon, lambda s: s.reads(4.5, "OPEN", ["a"], []), "lost: a GET did not show {'b'}, accepted before"
    ),
    "a GET did not find it": (an_afternoon, lambda s: s.reads(2, "", [], [], status=404), "after 'created' did not"),
    "a GET showed it open after the close": (
        an_afternoon, lambda s: s.reads(12, "OPEN", ["a", "b", "d"], []), "a GET after 'closed' showed OPEN"
    ),
    "a GET showed what is gone": (
        an_afternoon, lambda s: s.reads(9, "OPEN", ["a", "b"], [["a", "b", "zz"]]), "not stored any more"
    ),
    "it changed after it was shown closed": (
        an_afternoon, lambda s: s.reads(12, "CLOSED", ["a", "b", "d"], [["a", "b"]]), "changed after a GET"
    ),
    "a GET showed a message twice": (
        an_afternoon, lambda s: s.reads(4.5, "OPEN", ["a", "b", "b"], []), "duplicated: a GET showed a message twice"
    ),
    "a GET failed": (an_afternoon, lambda s: s.reads(4.5, "", [], [], status=500), "wrong: a GET got 500"),
}  # fmt: skip


@pytest.mark.parametrize(("story", "doctor", "finding"), DOCTORED.values(), ids=DOCTORED)
def test_what_is_wrong_is_found(story: Callable[[], Story], doctor: Callable[[Story], object], finding: str) -> None:
    told = story()
    doctor(told)
    assert any(finding in found for found in told.found()), told.found()


def test_where_the_databases_clock_jumped_time_says_nothing_but_counting_does() -> None:
    story = an_afternoon()
    story.terms = replace(TERMS, clock_jumps=[(0.0, 1.0)])
    story.changes("a", arrived_at=at(3600))
    assert story.found() == []
    story.forgets("reply-8.1")
    assert story.found()[:2] == ["lost: message a is in no reply", "lost: message b is in no reply"]
