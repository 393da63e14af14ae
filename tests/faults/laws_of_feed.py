"""A reader that follows `/changes/` is told all that is stored, nothing else, in its order, and once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from cases import Terms, Violation
from feed_reader import Told
from realmate.domain.changes import MESSAGE_TYPES
from realmate.domain.model import MessageKind, Status
from stored import Stored, StoredMessage

OPENED, CLOSED = "conversation.opened", "conversation.closed"


def the_feed_misses_nothing(told: Sequence[Told], stored: Stored, terms: Terms) -> Iterator[Violation]:
    messages = {(each.type, each.message) for each in told}
    for message in stored.messages.values():
        kind = MESSAGE_TYPES.get(message.kind)
        if kind is not None and (kind, message.id) not in messages:
            yield Violation(
                "lost", message.conversation, _at(message, terms), f"the feed never told {kind} {message.id}"
            )
    conversations = {(each.type, each.conversation) for each in told}
    for conversation in stored.conversations.values():
        wanted = {Status.OPEN: [OPENED], Status.CLOSED: [OPENED, CLOSED]}.get(conversation.status, [])
        for kind in wanted:
            if (kind, conversation.id) not in conversations:
                yield Violation("lost", conversation.id, 0.0, f"the feed never told {kind}")


def the_feed_invents_nothing(told: Sequence[Told], stored: Stored, _terms: Terms) -> Iterator[Violation]:
    for each in told:
        if each.message:
            message = stored.messages.get(each.message)
            here = (
                None
                if message is None
                else (MESSAGE_TYPES.get(message.kind), message.conversation, message.seq, message.content)
            )
            if here != (each.type, each.conversation, each.position, each.content):
                yield Violation(
                    "wrong", each.conversation, each.at, f"the feed told {each.type} {each.message}: {here}"
                )
        else:
            conversation = stored.conversations.get(each.conversation)
            known = {Status.OPEN: {OPENED}, Status.CLOSED: {OPENED, CLOSED}}
            if conversation is None or each.type not in known.get(conversation.status, set()):
                yield Violation("wrong", each.conversation, each.at, f"the feed told {each.type}, which is not so")


def the_feed_keeps_each_conversation_s_order(
    told: Sequence[Told], _stored: Stored, _terms: Terms
) -> Iterator[Violation]:
    last: defaultdict[str, int] = defaultdict(int)
    for each in told:
        if each.message and each.type != MESSAGE_TYPES[MessageKind.EXPIRED]:
            if each.position < last[each.conversation]:
                yield Violation("wrong", each.conversation, each.at, f"the feed told {each.position} too late")
            last[each.conversation] = max(last[each.conversation], each.position)


def the_feed_tells_once(told: Sequence[Told], _stored: Stored, _terms: Terms) -> Iterator[Violation]:
    """The log is never rewritten here: no switchover of the drill loses a transaction."""
    seen: Counter[tuple[str, str, str]] = Counter()
    for each in told:
        seen[each.type, each.conversation, each.message] += 1
        if seen[each.type, each.conversation, each.message] == 2:
            yield Violation("duplicated", each.conversation, each.at, f"the feed told {each.type} {each.message} again")


LAWS = (
    the_feed_misses_nothing,
    the_feed_invents_nothing,
    the_feed_keeps_each_conversation_s_order,
    the_feed_tells_once,
)


def check_feed(told: Sequence[Told], stored: Stored, terms: Terms, *, but_of: Sequence[str] = ()) -> list[Violation]:
    """Everything that is against the contract of the feed, but of some sources."""
    problems = [Violation("lost", "", each.at, each.problem) for each in told if each.problem]
    events = [each for each in told if not each.problem and each.source not in but_of]
    return problems + [violation for law in LAWS for violation in law(events, stored, terms)]


def _at(message: StoredMessage, terms: Terms) -> float:
    return (message.arrived_at - terms.epoch).total_seconds()
