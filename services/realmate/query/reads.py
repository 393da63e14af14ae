"""What readers see: conversations with their messages, many in one statement, and so in one snapshot."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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
    sources: frozenset[str] | None = None
    """Whose it may be, None: anybody's. Of several, the source's that sent its first event before the others."""


def read(db: Transactions, wanted: Collection[Wanted]) -> dict[Wanted, ConversationView]:
    """Those that exist."""
    views: dict[str, dict[str, ConversationView]] = {each.id: {} for each in wanted}  # by their sources, in order
    messages: list[MessageView] = []
    for key, source, status, created_at, updated_at, message_id, kind, content, timestamp in db.fetch(
        _CONVERSATIONS, uuid_array(set(views))
    ):
        if source not in views[key]:
            opened, changed = datetime.fromisoformat(created_at), datetime.fromisoformat(updated_at)
            messages = []
            views[key][source] = ConversationView(key, Status(status).name, opened, changed, messages)
        if message_id is not None:
            messages.append(MessageView(message_id, _TYPES[kind], content, timestamp))
    found = ((each, _first(views[each.id], each.sources)) for each in wanted)
    return {each: view for each, view in found if view is not None}


def _first(views: Mapping[str, ConversationView], sources: frozenset[str] | None) -> ConversationView | None:
    return next((view for source, view in views.items() if sources is None or source in sources), None)
