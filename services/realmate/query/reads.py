"""What readers see: conversations with their messages, many in one statement, and so in one snapshot."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import NamedTuple

import msgspec

from realmate.domain.model import Kind, Status
from realmate.runtime.transaction import Statement, Transactions, uuid_array

# A conversation's own columns come with each of its messages, so its moments as text: read once, where they change.
_CONVERSATIONS = Statement(
    "conversations_with_messages",
    ("uuid[]",),
    """
    SELECT CAST(conversation.id AS text), source.name, status, CAST(created_at AS text), CAST(updated_at AS text),
        CAST(message.id AS text), kind, content, "timestamp"
    FROM conversations AS conversation JOIN sources AS source ON source.id = conversation.source_id
    LEFT JOIN messages AS message
        ON conversation_id = conversation.id AND message.source_id = conversation.source_id AND kind <= 2
    WHERE conversation.id = ANY($1) AND status > 0
    ORDER BY conversation.id, conversation.source_id, "timestamp", seq
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


class Wanted(NamedTuple):
    """What a reader asks for."""

    id: str
    source: str | None = None
    """None: of whichever source, the first that ever sent an event if there are several."""


def read(db: Transactions, wanted: Collection[Wanted]) -> dict[Wanted, ConversationView]:
    """Those that exist."""
    views: dict[Wanted, ConversationView] = {}
    messages: list[MessageView] = []
    for key, source, status, created_at, updated_at, message_id, kind, content, timestamp in db.fetch(
        _CONVERSATIONS, uuid_array({each.id for each in wanted})
    ):
        if (key, source) not in views:
            opened, changed = datetime.fromisoformat(created_at), datetime.fromisoformat(updated_at)
            messages = []
            view = views[Wanted(key, source)] = ConversationView(key, Status(status).name, opened, changed, messages)
            views.setdefault(Wanted(key), view)
        if message_id is not None:
            messages.append(MessageView(message_id, _TYPES[kind], content, timestamp))
    return {each: views[each] for each in wanted if each in views}
