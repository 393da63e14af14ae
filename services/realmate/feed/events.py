"""The events that the feed tells, and how each is made of a change and a message (docs/adr/0018).

An event's id is made from what it tells, so that it is the same whenever and by whomever it is told.
"""

from __future__ import annotations

from datetime import datetime
from hashlib import blake2b
from typing import Annotated, NamedTuple

import msgspec

from realmate.domain.changes import EVENT_TYPES, MESSAGE_TYPES
from realmate.domain.model import MessageKind


class MessageEvent(msgspec.Struct):
    """A message, as an event and a page of messages show it."""

    id: str
    type: Annotated[str, msgspec.Meta(extra_json_schema={"enum": [kind.name for kind in MESSAGE_TYPES]})]
    content: str
    timestamp: datetime
    position: int
    """Its place in its conversation: append-only, as timestamps are not."""


class Event(msgspec.Struct):
    """One event, as readers get it."""

    id: str
    """Made from what it tells: the same whenever it is told."""
    type: Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(EVENT_TYPES)})]
    timestamp: datetime
    source: str
    conversation_id: str
    data: dict[str, MessageEvent]


class Message(NamedTuple):
    """A message as the events need it."""

    id: str
    seq: int
    kind: int
    timestamp: datetime
    content: str | None
    """None: it was too much for this answer."""


def conversation_event(source: str, conversation_id: str, kind: str, at: datetime) -> Event:
    """Return an event that is about no message."""
    id_ = _event_id(source, conversation_id, kind, at.isoformat())
    return Event(id_, kind, at, source, conversation_id, {})


def message_event(source: str, conversation_id: str, at: datetime, message: Message) -> Event | None:
    """Return the event of a message; None where its content is missing."""
    if message.content is None:
        return None
    kind = MessageKind(message.kind)
    told = MessageEvent(message.id, kind.name, message.content, message.timestamp, message.seq)
    id_ = _event_id(source, message.id, MESSAGE_TYPES[kind])
    return Event(id_, MESSAGE_TYPES[kind], at, source, conversation_id, {"message": told})


def _event_id(*parts: str) -> str:
    return "evt_" + blake2b("\n".join(parts).encode(), digest_size=16).hexdigest()
