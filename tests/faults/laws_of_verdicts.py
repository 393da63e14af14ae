"""What senders were told is what one order of all requests explains.

A request that was not answered (or with a 503) may have been committed, at any moment since it was sent: it may explain
what others were told, and it proves nothing. "Before" means that one answer had come when the other request was sent;
what overlaps may have happened in either order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from cases import CLOSE, OPEN, SAY, Case, Told, Violation
from laws_of_storage import SLACK
from realmate.domain.model import MessageKind

STATUS_OF = {
    (OPEN, "created"): 201,
    (OPEN, "conversation_exists"): 400,
    (SAY, "accepted"): 202,
    (SAY, "held"): 202,
    (SAY, "duplicate"): 202,
    (SAY, "conversation_closed"): 400,
    (SAY, "hold_expired"): 400,
    (SAY, "message_conflict"): 400,
    (CLOSE, "closed"): 200,
    (CLOSE, "conversation_not_found"): 400,
    (CLOSE, "conversation_already_closed"): 400,
}
"""Nothing else is an answer to a well-formed event."""

MAYBE = ""
"""The verdict of a request without an answer."""

CAUSES = {
    "conversation_exists": (OPEN, "created", MAYBE),
    "accepted": (OPEN, "created", MAYBE),
    "closed": (OPEN, "created", MAYBE),
    "conversation_closed": (CLOSE, "closed", MAYBE),
    "conversation_already_closed": (CLOSE, "closed", MAYBE),
    "duplicate": (SAY, "accepted", "held", MAYBE),
    "hold_expired": (SAY, "held", MAYBE),
}
"""What another request must have been told, or may have brought about unseen, for this verdict."""

CLOSED = {"closed", "conversation_closed", "conversation_already_closed"}
OPENED = {"created", "conversation_exists", "accepted"} | CLOSED
KNOWN = {"accepted", "held", "duplicate", "hold_expired"}

NEVER_AFTER = (
    (OPENED, {"created", "held", "conversation_not_found"}),
    (CLOSED, {"accepted", "closed"}),
)
"""(what proves it, what cannot be told any more once it is proven), within a conversation."""

NEVER_AFTER_ABOUT_A_MESSAGE = (
    (KNOWN, {"accepted", "held", "conversation_closed", "message_conflict"}),
    ({"hold_expired"}, {"duplicate"}),
    ({"accepted"}, {"hold_expired"}),
)


def answers_are_of_the_contract(case: Case) -> Iterator[Violation]:
    for each in case.told:
        expected = STATUS_OF.get((each.event.kind, each.verdict))
        if each.attempt.decided and expected != each.attempt.status:
            yield case.wrong(each.event.at, f"{each.event.kind} got {each.attempt.status} {each.verdict!r}")


def what_happens_once_is_told_once(case: Case) -> Iterator[Violation]:
    tally = Counter(
        _what_happened(each) for each in case.told if each.verdict in {"created", "closed", "accepted", "held"}
    )
    for what, times in tally.items():
        if times > 1:
            yield case.duplicated(case.began_at, f"{what} was told {times} times")


def every_verdict_has_a_cause(case: Case) -> Iterator[Violation]:
    for each in case.told:
        if each.verdict in CAUSES and not any(_may_cause(other, each) for other in case.told):
            yield case.wrong(each.event.at, f"{_about(each)} was told {each.verdict!r} without a cause")
        if each.verdict == "message_conflict" and len(case.content_of[each.event.message]) < 2:
            yield case.wrong(each.event.at, f"{_about(each)} was told a conflict nobody made")


def what_is_final_stays_so(case: Case) -> Iterator[Violation]:
    for evidence, excluded in NEVER_AFTER:
        yield from _contradictions(case, case.told, evidence, excluded)
    messages = {(each.event.message, each.event.content) for each in case.attempts(SAY)}
    for message in messages:
        told = [each for each in case.attempts(SAY) if (each.event.message, each.event.content) == message]
        for evidence, excluded in NEVER_AFTER_ABOUT_A_MESSAGE:
            yield from _contradictions(case, told, evidence, excluded)


def a_hold_is_over_when_its_time_is(case: Case) -> Iterator[Violation]:
    if not case.keeps_time:
        return
    for each in case.attempts(SAY, "duplicate", "hold_expired"):
        stored = case.everywhere.get(each.event.message)
        if stored is None or stored.kind is not MessageKind.EXPIRED:
            continue
        over_at = stored.arrived_at + case.terms.tolerance
        if each.verdict == "duplicate" and case.terms.moment(each.sent_at) > over_at + SLACK:
            yield case.wrong(each.event.at, f"{_about(each)} was told 'duplicate' after its hold was over")
        if each.verdict == "hold_expired" and case.terms.moment(each.ended_at) < over_at - SLACK:
            yield case.wrong(each.event.at, f"{_about(each)} was told 'hold_expired' before its hold was over")


def _may_cause(cause: Told, effect: Told) -> bool:
    type_, *verdicts = CAUSES[effect.verdict]
    return (
        cause.attempt is not effect.attempt
        and (cause.event is not effect.event or not effect.event.source)  # its key told that it was the same again
        and cause.event.kind == type_
        and cause.verdict in verdicts
        and cause.sent_at <= effect.ended_at
        and (type_ != SAY or (cause.event.message, cause.event.content) == (effect.event.message, effect.event.content))
    )


def _contradictions(case: Case, told: list[Told], evidence: set[str], excluded: set[str]) -> Iterator[Violation]:
    proof = min((each for each in told if each.verdict in evidence), key=lambda each: each.ended_at, default=None)
    for each in told:
        if proof is not None and each.verdict in excluded and each.sent_at > proof.ended_at:
            yield case.wrong(each.event.at, f"{_about(each)} was told {each.verdict!r} after {proof.verdict!r}")


def _what_happened(told: Told) -> str:
    """'accepted' and 'held' are the same to a message: it came in."""
    return f"{_about(told)} {'stored' if told.event.kind == SAY else told.verdict}"


def _about(told: Told) -> str:
    return f"message {told.event.message}" if told.event.message else told.event.kind


LAWS = (
    answers_are_of_the_contract,
    what_happens_once_is_told_once,
    every_verdict_has_a_cause,
    what_is_final_stays_so,
    a_hold_is_over_when_its_time_is,
)
