"""The events a sender may report, and the verdict each of them gets."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from realmate.domain.model import ConversationId, MessageId


class NewConversation(NamedTuple):
    conversation_id: ConversationId
    timestamp: datetime


class NewMessage(NamedTuple):
    conversation_id: ConversationId
    timestamp: datetime
    message_id: MessageId
    content: str


class CloseConversation(NamedTuple):
    conversation_id: ConversationId
    timestamp: datetime


Event = NewConversation | NewMessage | CloseConversation


class Verdict(StrEnum):
    """The decision about an event. The first five are promises (2xx), the rest are rejections (400)."""

    CREATED = "created"
    ACCEPTED = "accepted"
    HELD = "held"
    DUPLICATE = "duplicate"
    CLOSED = "closed"

    CONVERSATION_EXISTS = "conversation_exists"
    CONVERSATION_CLOSED = "conversation_closed"
    CONVERSATION_NOT_FOUND = "conversation_not_found"
    CONVERSATION_ALREADY_CLOSED = "conversation_already_closed"
    HOLD_EXPIRED = "hold_expired"
    MESSAGE_CONFLICT = "message_conflict"

    TOO_MANY_HELD = "too_many_held"
    """Not for good: nothing was decided about the message, and it may come again later."""
    IDEMPOTENCY_MISMATCH = "idempotency_mismatch"
    """Not decided here: the event was never looked at, its key being another request's."""
    REJECTED = "refused"  # the word that crosses the wire, which versions before this one know
    """Not decided here: the intake had rejected the request already, and says why."""
    UNSTORABLE = "event_unstorable"
    """Not decided here: the database can never store what is in the event."""
    FAILED = "failed"
    """Not decided here: nothing is known but that this event, and no other, could not be processed."""


PROMISES = frozenset({Verdict.CREATED, Verdict.ACCEPTED, Verdict.HELD, Verdict.DUPLICATE, Verdict.CLOSED})
PASSING = frozenset({Verdict.TOO_MANY_HELD})
"""Rejections for now. The event leaves no trace, not even under its idempotency key, and its sender tries again."""
