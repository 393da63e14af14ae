"""Every message that was let in is in exactly one reply; groups and holds obey their limits; a closing is final."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from cases import Case, Violation
from realmate.domain.model import MessageKind, Status
from stored import StoredMessage


def every_message_is_in_exactly_one_reply(case: Case) -> Iterator[Violation]:
    named = Counter(name for reply in case.of(MessageKind.OUTBOUND) for name in reply.named)
    inbound = {message.id for message in case.of(MessageKind.INBOUND)}
    for message in sorted(inbound - named.keys()):
        yield case.lost(case.began_at, f"message {message} is in no reply")
    for message, times in named.items():
        if times > 1:
            yield case.duplicated(case.began_at, f"message {message} is in {times} replies")
        if message not in inbound:
            yield case.wrong(case.began_at, f"a reply names {message}, which is not in the conversation")


def replies_are_written_as_promised(case: Case) -> Iterator[Violation]:
    """Heading, then the ids in the order of the messages' timestamps; arrival breaks ties."""
    by_id = {message.id: message for message in case.of(MessageKind.INBOUND)}
    for reply in case.of(MessageKind.OUTBOUND):
        members = sorted((by_id[name] for name in set(reply.named) & by_id.keys()), key=lambda m: (m.timestamp, m.seq))
        if reply.content != "\n".join(["Mensagens recebidas:", *(str(member.id) for member in members)]):
            yield case.wrong(case.began_at, f"a reply reads {reply.content!r}")


def groups_obey_the_window(case: Case) -> Iterator[Violation]:
    found = sorted(tuple(sorted(reply.named)) for reply in case.of(MessageKind.OUTBOUND))
    expected = sorted(tuple(sorted(message.id for message in group)) for group in _groups(case))
    if case.keeps_time and found != expected:
        yield case.wrong(case.began_at, f"the groups are {found}, by arrival they should be {expected}")


def no_reply_comes_before_its_time(case: Case) -> Iterator[Violation]:
    by_id = {message.id: message for message in case.of(MessageKind.INBOUND)}
    closed_at = case.stored.updated_at if case.stored and case.stored.status is Status.CLOSED else None
    for reply in case.of(MessageKind.OUTBOUND):
        last = max((by_id[name].arrived_at for name in reply.named if name in by_id), default=None)
        if last is None or not case.keeps_time or reply.arrived_at == closed_at:
            continue
        if reply.arrived_at - last < case.terms.window:
            yield case.wrong(case.began_at, f"the reply to {reply.named} came {reply.arrived_at - last} after the last")


def nothing_happens_after_the_close(case: Case) -> Iterator[Violation]:
    if not (case.stored and case.stored.status is Status.CLOSED and case.keeps_time and case.stored.updated_at):
        return
    for message in case.messages:
        if message.arrived_at > case.stored.updated_at:
            yield case.wrong(case.began_at, f"message {message.id} arrived after the close")


def holds_obey_the_tolerance(case: Case) -> Iterator[Violation]:
    opened_at = case.stored.created_at if case.stored else None
    for message in case.messages:
        if message.kind is MessageKind.INBOUND and opened_at is None:
            yield case.wrong(case.began_at, f"message {message.id} is in a conversation that was never opened")
            continue
        if opened_at is None or not case.keeps_time:
            continue
        waited = opened_at - message.arrived_at
        if message.kind is MessageKind.INBOUND and waited > case.terms.tolerance:
            yield case.wrong(case.began_at, f"message {message.id} was let in after waiting {waited}")
        if message.kind is MessageKind.EXPIRED and waited <= case.terms.tolerance:
            yield case.wrong(case.began_at, f"message {message.id} expired, though it waited {waited} only")


def _groups(case: Case) -> list[list[StoredMessage]]:
    """The messages as their arrival parts them."""
    inbound = case.of(MessageKind.INBOUND)
    groups = [inbound[:1]] if inbound else []
    for before, after in pairwise(inbound):
        if after.arrived_at - before.arrived_at > case.terms.window:
            groups.append([])
        groups[-1].append(after)
    return groups


LAWS = (
    every_message_is_in_exactly_one_reply,
    replies_are_written_as_promised,
    groups_obey_the_window,
    no_reply_comes_before_its_time,
    nothing_happens_after_the_close,
    holds_obey_the_tolerance,
)
