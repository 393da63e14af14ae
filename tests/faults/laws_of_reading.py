"""A GET that starts after a 2xx answer sees its effect, and what it shows is what is stored."""

from __future__ import annotations

from collections.abc import Iterator

from cases import CLOSE, OPEN, SAY, Case, Violation
from history import NO_ANSWER, UNAVAILABLE, Read
from realmate.domain.model import MessageKind

SHOWN, NOT_FOUND = 200, 404


def reads_are_of_the_contract(case: Case) -> Iterator[Violation]:
    for read in case.reads:
        if read.status not in {SHOWN, NOT_FOUND, NO_ANSWER, UNAVAILABLE}:
            yield case.wrong(read.sent_at, f"a GET got {read.status}")


def reads_see_what_was_promised_before(case: Case) -> Iterator[Violation]:
    for read in _answered(case):
        opened = any(each.ended_at < read.sent_at for each in case.attempts(OPEN, "created"))
        closed = any(each.ended_at < read.sent_at for each in case.attempts(CLOSE, "closed"))
        accepted = {each.event.message for each in case.attempts(SAY, "accepted") if each.ended_at < read.sent_at}
        if opened and read.status == NOT_FOUND:
            yield case.lost(read.sent_at, "a GET after 'created' did not find it")
        elif closed and read.state != "CLOSED":
            yield case.lost(read.sent_at, f"a GET after 'closed' showed {read.state}")
        elif missing := accepted - set(read.inbound):
            yield case.lost(read.sent_at, f"a GET did not show {missing}, accepted before")


def reads_show_what_is_stored(case: Case) -> Iterator[Violation]:
    inbound = {message.id for message in case.of(MessageKind.INBOUND)}
    replies = {message.named for message in case.of(MessageKind.OUTBOUND)}
    for read in _answered(case):
        if not (set(read.inbound) <= inbound and set(read.replies) <= replies):
            yield case.lost(read.sent_at, "a GET showed what is not stored any more")
        if read.state == "CLOSED" and (set(read.inbound), set(read.replies)) != (inbound, replies):
            yield case.wrong(read.sent_at, "it changed after a GET had shown it CLOSED")
        if len(set(read.inbound)) < len(read.inbound) or len(set(read.replies)) < len(read.replies):
            yield case.duplicated(read.sent_at, "a GET showed a message twice")


def _answered(case: Case) -> list[Read]:
    return [read for read in case.reads if read.status in {SHOWN, NOT_FOUND}]


LAWS = (reads_are_of_the_contract, reads_see_what_was_promised_before, reads_show_what_is_stored)
