"""The rows of conversations and messages, and the values of the domain that they stand for.

The SQL of what is locked and written takes its columns from these fields, and the code reads them by name. So a new
column is a field here, a field of the domain, and one line in each conversion.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from realmate.domain.model import Conversation, ConversationId, Group, Message, MessageId, MessageKind, Reply, Status

_STATUS = {int(status): status for status in Status}  # a quarter of the cost of Status(number)


class LockedRow(NamedTuple):
    """What is loaded of a conversation when it is locked."""

    id: str | None
    """None in the row that only carries the clock."""
    source_id: int
    status: int
    last_seq: int
    group_first_seq: int | None
    group_size: int | None
    group_first_at: datetime | None
    group_last_at: datetime | None
    due_at: datetime | None
    held_messages: int | None
    held_bytes: int | None


LOCKED_COLUMNS = LockedRow._fields


class ConversationRow(msgspec.Struct, omit_defaults=True):
    """A row of `conversations`, to be written. What is null is left out: the rest is less to write and to parse."""

    id: str
    source_id: int
    status: Status
    last_seq: int
    created_at: datetime | None = None
    updated_at: datetime | None = None
    opened_timestamp: datetime | None = None
    closed_timestamp: datetime | None = None
    due_at: datetime | None = None
    group_first_seq: int | None = None
    group_size: int | None = None
    group_first_at: datetime | None = None
    group_last_at: datetime | None = None
    held_messages: int | None = None
    held_bytes: int | None = None


class GrownRow(msgspec.Struct):
    """What changes in a conversation when messages join the group that waits."""

    id: str
    source_id: int
    last_seq: int
    group_size: int


class MessageRow(msgspec.Struct):
    """A row of `messages`, to be written. The transaction adds `arrived_at`."""

    id: str
    source_id: int
    conversation_id: str
    seq: int
    kind: MessageKind
    content: str
    timestamp: datetime


class KnownMessage(NamedTuple):
    """What is loaded of a message that is stored."""

    id: str
    source_id: int
    conversation_id: str
    seq: int
    kind: int
    content: str
    timestamp: datetime
    arrived_at: datetime


class ReplyRow(msgspec.Struct):
    """A reply to be rendered from its messages, or to be asked for."""

    conversation_id: str
    source_id: int
    seq: int
    first_seq: int
    last_seq: int
    made_at: datetime


def columns(row: type[msgspec.Struct]) -> str:
    """Return the columns of a row, as SQL."""
    return ", ".join(row.__struct_fields__)


def conversation_of(row: LockedRow, key: str) -> Conversation:
    """Return the locked conversation. `key` is the row's id."""
    group = None
    if row.group_first_seq is not None and row.group_last_at is not None:
        first_at = row.group_first_at or row.group_last_at
        group = Group(row.group_first_seq, row.group_size or 1, first_at, row.group_last_at)
    return Conversation(
        ConversationId(key, row.source_id),
        _STATUS[row.status],
        last_seq=row.last_seq,
        group=group,
        due_at=row.due_at,
        held_messages=row.held_messages or 0,
        held_bytes=row.held_bytes or 0,
    )


def message_of(values: Sequence[Any]) -> Message:
    row = KnownMessage._make(values)
    return Message(
        MessageId(row.id, row.source_id),
        ConversationId(row.conversation_id, row.source_id),
        row.seq,
        MessageKind(row.kind),
        row.content,
        row.timestamp,
        row.arrived_at,
    )


def conversation_row(conversation: Conversation) -> ConversationRow:
    row = ConversationRow(
        id=conversation.id.text,
        source_id=conversation.id.source_id,
        status=conversation.status,
        last_seq=conversation.last_seq,
        created_at=conversation.created_at,
        updated_at=conversation.updated_at,
        opened_timestamp=conversation.opened_timestamp,
        closed_timestamp=conversation.closed_timestamp,
        due_at=conversation.due_at,
    )
    if group := conversation.group:
        row.group_first_seq, row.group_size = group.first_seq, group.size
        row.group_first_at, row.group_last_at = group.first_arrived_at, group.last_arrived_at
    if conversation.held_messages:
        row.held_messages, row.held_bytes = conversation.held_messages, conversation.held_bytes
    return row


def grown_row(before: Conversation, after: Conversation) -> GrownRow | None:
    """Return the row, if all that happened is that messages joined the group that waits."""
    group, grown = before.group, after.group
    if (
        group is not None
        and grown is not None
        and grown.first_seq == group.first_seq
        and grown.size > group.size
        and after.due_at is before.due_at
    ):
        return GrownRow(id=after.id.text, source_id=after.id.source_id, last_seq=after.last_seq, group_size=grown.size)
    return None


def message_row(message: Message) -> MessageRow:
    return MessageRow(
        id=message.id.text,
        source_id=message.id.source_id,
        conversation_id=message.conversation_id.text,
        seq=message.seq,
        kind=message.kind,
        content=message.content,
        timestamp=message.timestamp,
    )


def reply_row(reply: Reply) -> ReplyRow:
    return ReplyRow(
        conversation_id=reply.conversation_id.text,
        source_id=reply.conversation_id.source_id,
        seq=reply.seq,
        first_seq=reply.first_seq,
        last_seq=reply.last_seq,
        made_at=reply.made_at,
    )
