"""What readers see: conversations with their messages, many in one statement, and so in one snapshot."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import msgspec

from realmate.domain.model import Kind, Status
from realmate.runtime.transaction import Statement, Transactions, uuid_array

# A conversation's own columns come with each of its messages, so its moments as text: read once, where they change.
_CONVERSATIONS = Statement(
    "conversations_with_messages",
    ("uuid[]",),
    """
    SELECT CAST(conversation.id AS text), status, CAST(created_at AS text), CAST(updated_at AS text),
        CAST(message.id AS text), kind, content, "timestamp"
    FROM conversations AS conversation
    LEFT JOIN messages AS message ON conversation_id = conversation.id AND kind <= 2
    WHERE conversation.id = ANY($1) AND status > 0 ORDER BY conversation.id, "timestamp", seq
    """,
)
_TYPES = {int(kind): kind.name for kind in Kind}


class MessageView(msgspec.Struct):
    id: str
    type: str
    content: str
    timestamp: datetime


class ConversationView(msgspec.Struct):
    id: str
    status: str
    created_at: datetime
    updated_at: datetime
    messages: list[MessageView]


def read(db: Transactions, ids: Collection[str]) -> dict[str, ConversationView]:
    """The conversations among `ids` that exist."""
    views: dict[str, ConversationView] = {}
    messages: list[MessageView] = []
    for key, status, created_at, updated_at, message_id, kind, content, timestamp in db.fetch(
        _CONVERSATIONS, uuid_array(ids)
    ):
        if key not in views:
            opened, changed = datetime.fromisoformat(created_at), datetime.fromisoformat(updated_at)
            messages = []
            views[key] = ConversationView(key, Status(status).name, opened, changed, messages)
        if message_id is not None:
            messages.append(MessageView(message_id, _TYPES[kind], content, timestamp))
    return views
