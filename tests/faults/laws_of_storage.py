"""What was answered 2xx is stored, once; and nothing is stored that nobody asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from cases import CLOSE, OPEN, SAY, Case, Told, Violation
from realmate.domain.model import MessageKind, Status

SLACK = timedelta(seconds=0.25)
"""Between the generator's clock and the database's: one host, two ways to tell the time."""

STORED_AS = {
    "accepted": {MessageKind.INBOUND},
    "held": {MessageKind.INBOUND, MessageKind.EXPIRED, MessageKind.HELD},
    "duplicate": {MessageKind.INBOUND, MessageKind.EXPIRED, MessageKind.HELD},
    "hold_expired": {MessageKind.EXPIRED},
}


def every_event_gets_its_answer(case: Case) -> Iterator[Violation]:
    for event in case.unanswered:
        yield case.lost(event.at, f"{event.kind} {event.message} was never answered")


def promises_about_messages_are_kept(case: Case) -> Iterator[Violation]:
    for each in case.attempts(SAY, *STORED_AS):
        event = each.event
        stored = case.everywhere.get(event.message)
        if stored is None or (stored.conversation, stored.content) != (event.conversation, event.content):
            yield case.lost(event.at, f"message {event.message} was told {each.verdict!r} and is not stored")
        elif stored.kind not in STORED_AS[each.verdict]:
            yield case.wrong(event.at, f"message {event.message} was told {each.verdict!r} and is {stored.kind.name}")


def promises_about_conversations_are_kept(case: Case) -> Iterator[Violation]:
    status = case.stored.status if case.stored else Status.PENDING
    for each in case.attempts(OPEN, "created"):
        if status is Status.PENDING:
            yield case.lost(each.event.at, "was told 'created' and is not stored")
    for each in case.attempts(CLOSE, "closed"):
        if status is not Status.CLOSED:
            yield case.lost(each.event.at, f"was told 'closed' and is {status.name}")


def nothing_is_stored_that_nobody_sent(case: Case) -> Iterator[Violation]:
    for message in case.messages:
        sent = [each for each in case.attempts(SAY) if _is(each, message.id, message.content)]
        let_in = [each for each in sent if each.verdict in {"accepted", "held", ""}]
        if message.kind is not MessageKind.OUTBOUND and not let_in:
            told = sorted({each.verdict for each in sent})
            yield case.wrong(case.began_at, f"message {message.id} is stored; its senders were told {told}")
    status = case.stored.status if case.stored else Status.PENDING
    if status is not Status.PENDING and not case.attempts(OPEN, "created", ""):
        yield case.wrong(case.began_at, f"is {status.name}, and nobody can have opened it")
    if status is Status.CLOSED and not case.attempts(CLOSE, "closed", ""):
        yield case.wrong(case.began_at, "is CLOSED, and nobody can have closed it")


def arrivals_lie_between_question_and_answer(case: Case) -> Iterator[Violation]:
    if not case.keeps_time:
        return
    for message in case.messages:
        sent = [each for each in case.attempts(SAY) if _is(each, message.id, message.content)]
        known = [each.ended_at for each in sent if each.verdict in STORED_AS]
        if not known:
            continue
        earliest = case.terms.moment(min(each.sent_at for each in sent)) - SLACK
        latest = case.terms.moment(min(known)) + SLACK
        if not earliest <= message.arrived_at <= latest:
            yield case.wrong(
                sent[0].event.at, f"message {message.id} arrived at {message.arrived_at}, not in {earliest}..{latest}"
            )


def nothing_waits_for_ever(case: Case) -> Iterator[Violation]:
    """Called when all has healed and every window is over."""
    if case.stored and case.stored.due_at:
        yield case.wrong(case.began_at, f"still has work due at {case.stored.due_at}")
    for message in case.of(MessageKind.HELD):
        yield case.wrong(case.began_at, f"message {message.id} is still held")


def _is(told: Told, message: str, content: str) -> bool:
    return (told.event.message, told.event.content) == (message, content)


LAWS = (
    every_event_gets_its_answer,
    promises_about_messages_are_kept,
    promises_about_conversations_are_kept,
    nothing_is_stored_that_nobody_sent,
    arrivals_lie_between_question_and_answer,
    nothing_waits_for_ever,
)
