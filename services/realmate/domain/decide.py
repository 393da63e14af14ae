"""Every decision Realmate takes, as a pure function of state, event and moment.

Rule 1: what the contract says about events, holds, groups and replies happens here and nowhere else. The store loads
and saves; it decides nothing.

Rule 2: `now` is a parameter and always the database's clock, read after the conversation was locked. The event's own
timestamp is data.

Rule 3: whatever is overdue is settled before the event is looked at. So a late sweep never merges two groups and never
lets an expired message in: correctness does not depend on timers.

The transitions are the table `_TRANSITIONS`: one function for each pair of status and event. A conversation nobody has
heard of is a blank PENDING one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from realmate.domain.events import CloseConversation, Event, NewConversation, NewMessage, Verdict
from realmate.domain.model import Conversation, Group, HeldMessage, Message, MessageKind, Reply, Rules, Status, is_past


class Decision(NamedTuple):
    """The state after a decision, and what must be written for it."""

    conversation: Conversation
    """Afterwards. The very object that came in where nothing changed."""
    verdict: Verdict | None = None
    """The verdict is None where time alone decided (`decide_due`)."""
    message: Message | None = None
    """A message to store."""
    admitted: tuple[HeldMessage, ...] = ()
    """Stored as HELD, now INBOUND."""
    expired: tuple[HeldMessage, ...] = ()
    """Stored as HELD, now EXPIRED."""
    replies: tuple[Reply, ...] = ()
    """Replies to render and store, after the above."""


DEFAULT_RULES = Rules()


def decide(
    conversation: Conversation,
    event: Event,
    now: datetime,
    *,
    known: Message | None = None,
    rules: Rules = DEFAULT_RULES,
) -> Decision:
    """Decide one event.

    `known` is what is stored under a NewMessage's id, if anything is. Its conversation may be another one.
    """
    if isinstance(event, NewMessage) and known is not None:
        return Decision(conversation, _verdict_on_known(event, known, now, rules))
    conversation, overdue = _answer_if_over(conversation, now, rules)
    decision = _TRANSITIONS[conversation.status, type(event)](conversation, event, now, rules)
    return decision._replace(replies=(overdue, *decision.replies)) if overdue else decision


def decide_due(
    conversation: Conversation, now: datetime, rules: Rules = DEFAULT_RULES, *, more_held: bool = False
) -> Decision:
    """Decide what time alone brings: the end of a group, the end of a wait.

    `conversation.held` must be complete, or be the oldest ones, and then `more_held` says that there are others. What
    can be decided of those is decided, and the conversation stays due if it may have to be looked at again at once.
    """
    conversation, overdue = _answer_if_over(conversation, now, rules)
    expired, waiting = _split_held(conversation, now, rules)
    due_at = conversation.due_at if more_held else None
    if conversation.group:
        due_at = conversation.group.ends_at(rules)
    elif waiting:
        due_at = waiting[0].arrived_at + rules.hold_tolerance
    settled = conversation._replace(held=waiting, due_at=due_at)
    settled = _count_down(settled, expired) if more_held else _count_anew(settled)
    return Decision(settled, expired=expired, replies=(overdue,) if overdue else ())


def _count_down(conversation: Conversation, gone: tuple[HeldMessage, ...]) -> Conversation:
    return conversation._replace(
        held_messages=max(0, conversation.held_messages - len(gone)),
        held_bytes=max(0, conversation.held_bytes - sum(held.bytes for held in gone)),
    )


def _count_anew(conversation: Conversation) -> Conversation:
    """Count the held messages again. All of them are loaded, so a wrong count becomes right."""
    held = conversation.held
    return conversation._replace(held_messages=len(held), held_bytes=sum(each.bytes for each in held))


def _verdict_on_known(event: NewMessage, known: Message, now: datetime, rules: Rules) -> Verdict:
    """The id is taken. The very same message again is harmless, and says what became of the first."""
    same = known.conversation_id == event.conversation_id and known.content == event.content
    if not same or known.kind is MessageKind.OUTBOUND:
        return Verdict.MESSAGE_CONFLICT
    waited_in_vain = known.kind is MessageKind.HELD and is_past(known.arrived_at, now, rules.hold_tolerance)
    return Verdict.HOLD_EXPIRED if known.kind is MessageKind.EXPIRED or waited_in_vain else Verdict.DUPLICATE


def _split_held(
    conversation: Conversation, now: datetime, rules: Rules
) -> tuple[tuple[HeldMessage, ...], tuple[HeldMessage, ...]]:
    """(those that waited in vain, those still within their wait)"""
    expired = tuple(held for held in conversation.held if held.is_expired(now, rules))
    waiting = tuple(held for held in conversation.held if not held.is_expired(now, rules))
    return expired, waiting


def _answer_if_over(conversation: Conversation, now: datetime, rules: Rules) -> tuple[Conversation, Reply | None]:
    group = conversation.group
    if group is None or not group.is_over(now, rules):
        return conversation, None
    return _answer(conversation, group, conversation.last_seq, now, rules)


def _answer_if_full(
    conversation: Conversation, last_seq: int, now: datetime, rules: Rules
) -> tuple[Conversation, Reply | None]:
    """`last_seq` is that of the message which joined the group just now."""
    group, most = conversation.group, rules.group_max_messages
    if group is None or most is None or group.size < most:
        return conversation, None
    return _answer(conversation, group, last_seq, now, rules)


def _answer(
    conversation: Conversation, group: Group, last_seq: int, now: datetime, rules: Rules
) -> tuple[Conversation, Reply]:
    seq = conversation.last_seq + 1
    reply = Reply(conversation.id, seq, group.first_seq, last_seq, group.ends_at(rules), made_at=now)
    return conversation._replace(last_seq=seq, group=None, due_at=None, updated_at=now), reply


# --- NEW_CONVERSATION ---


def _open(conversation: Conversation, event: NewConversation, now: datetime, rules: Rules) -> Decision:
    """Open it; the held messages still within their wait enter as if they had come after it, grouped by arrival."""
    expired, admitted = _split_held(conversation, now, rules)
    opened = conversation._replace(
        status=Status.OPEN,
        created_at=now,
        updated_at=now,
        opened_timestamp=event.timestamp,
        due_at=None,
        held=(),
        held_messages=0,
        held_bytes=0,
    )
    replies = []
    last_seq = 0
    for held in admitted:
        if opened.group and opened.group.is_over(held.arrived_at, rules):
            opened, reply = _answer(opened, opened.group, last_seq, now, rules)
            replies.append(reply)
        opened = _join_group(opened, held.seq, held.arrived_at, rules)
        last_seq = held.seq
        opened, full = _answer_if_full(opened, last_seq, now, rules)
        if full:
            replies.append(full)
    opened, overdue = _answer_if_over(opened, now, rules)
    if overdue:
        replies.append(overdue)
    return Decision(opened, Verdict.CREATED, admitted=admitted, expired=expired, replies=tuple(replies))


def _reject_existing(conversation: Conversation, _event: NewConversation, _now: datetime, _rules: Rules) -> Decision:
    return Decision(conversation, Verdict.CONVERSATION_EXISTS)


# --- NEW_MESSAGE ---


def _hold(conversation: Conversation, event: NewMessage, now: datetime, rules: Rules) -> Decision:
    """Keep it until its conversation comes or its wait is over, if there is room for it."""
    size = len(event.content.encode())
    if _is_full(conversation, size, rules):
        return Decision(conversation, Verdict.TOO_MANY_HELD)
    message = _message(conversation, event, MessageKind.HELD, now)
    held = HeldMessage(message.id, message.seq, now, size)
    waiting = conversation._replace(
        last_seq=message.seq,
        updated_at=now,
        held=(*conversation.held, held),
        held_messages=conversation.held_messages + 1,
        held_bytes=conversation.held_bytes + size,
        due_at=conversation.due_at or now + rules.hold_tolerance,
    )
    return Decision(waiting, Verdict.HELD, message=message)


def _is_full(conversation: Conversation, more_bytes: int, rules: Rules) -> bool:
    """Whether a message of so many bytes would exceed what may be held for the conversation."""
    most, most_bytes = rules.hold_max_messages, rules.hold_max_bytes
    return (most is not None and conversation.held_messages >= most) or (
        most_bytes is not None and conversation.held_bytes + more_bytes > most_bytes
    )


def _accept(conversation: Conversation, event: NewMessage, now: datetime, rules: Rules) -> Decision:
    message = _message(conversation, event, MessageKind.INBOUND, now)
    joined, full = _answer_if_full(_join_group(conversation, message.seq, now, rules), message.seq, now, rules)
    return Decision(joined, Verdict.ACCEPTED, message=message, replies=(full,) if full else ())


def _reject_closed(conversation: Conversation, _event: NewMessage, _now: datetime, _rules: Rules) -> Decision:
    return Decision(conversation, Verdict.CONVERSATION_CLOSED)


def _message(conversation: Conversation, event: NewMessage, kind: MessageKind, now: datetime) -> Message:
    return Message(
        event.message_id, conversation.id, conversation.last_seq + 1, kind, event.content, event.timestamp, now
    )


def _join_group(conversation: Conversation, seq: int, arrived_at: datetime, rules: Rules) -> Conversation:
    """The conversation with message `seq` in its group: the pending one, or a new one."""
    last_seq, updated_at = max(conversation.last_seq, seq), max(conversation.updated_at or arrived_at, arrived_at)
    if not rules.replies:
        return conversation._replace(last_seq=last_seq, updated_at=updated_at)
    if conversation.group:
        first_seq, size, first_arrived_at, _ = conversation.group
        group, due_at = Group(first_seq, size + 1, first_arrived_at, arrived_at), conversation.due_at
    else:
        group = Group(seq, 1, arrived_at, arrived_at)
        due_at = group.ends_at(rules)
    return conversation._replace(last_seq=last_seq, updated_at=updated_at, group=group, due_at=due_at)


# --- CLOSE_CONVERSATION ---


def _close(conversation: Conversation, event: CloseConversation, now: datetime, rules: Rules) -> Decision:
    """Close it for good; what is pending is answered at once, so that nothing is left to change later."""
    closed = conversation._replace(status=Status.CLOSED, updated_at=now, closed_timestamp=event.timestamp)
    if closed.group is None:
        return Decision(closed, Verdict.CLOSED)
    closed, reply = _answer(closed, closed.group, closed.last_seq, now, rules)
    return Decision(closed, Verdict.CLOSED, replies=(reply,))


def _reject_unknown(conversation: Conversation, _event: CloseConversation, _now: datetime, _rules: Rules) -> Decision:
    return Decision(conversation, Verdict.CONVERSATION_NOT_FOUND)


def _reject_closing_twice(
    conversation: Conversation, _event: CloseConversation, _now: datetime, _rules: Rules
) -> Decision:
    return Decision(conversation, Verdict.CONVERSATION_ALREADY_CLOSED)


_Transition = Callable[[Conversation, Any, datetime, Rules], Decision]
_TRANSITIONS: dict[tuple[Status, type[Event]], _Transition] = {
    (Status.PENDING, NewConversation): _open,
    (Status.OPEN, NewConversation): _reject_existing,
    (Status.CLOSED, NewConversation): _reject_existing,
    (Status.PENDING, NewMessage): _hold,
    (Status.OPEN, NewMessage): _accept,
    (Status.CLOSED, NewMessage): _reject_closed,
    (Status.PENDING, CloseConversation): _reject_unknown,
    (Status.OPEN, CloseConversation): _close,
    (Status.CLOSED, CloseConversation): _reject_closing_twice,
}
