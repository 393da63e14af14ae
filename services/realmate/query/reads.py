"""What readers see: conversations with their messages, many in two statements."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Connection, text

from realmate.domain.model import Kind, Status

_CONVERSATIONS = text(
    "SELECT id, status, created_at, updated_at FROM conversations WHERE id = ANY(CAST(:ids AS uuid[])) AND status > 0"
)
_MESSAGES = text(
    'SELECT conversation_id, id, kind, content, "timestamp" FROM messages'
    " WHERE conversation_id = ANY(CAST(:ids AS uuid[])) AND kind <= 2"
    ' ORDER BY conversation_id, "timestamp", seq'
)


class MessageView(msgspec.Struct):
    id: UUID
    type: str
    content: str
    timestamp: datetime


class ConversationView(msgspec.Struct):
    id: UUID
    status: str
    created_at: datetime
    updated_at: datetime
    messages: list[MessageView]


def read(connection: Connection, ids: Collection[UUID]) -> dict[UUID, ConversationView]:
    """The conversations among `ids` that exist, each as it was at one moment (both statements see one snapshot)."""
    parameters = {"ids": "{" + ",".join(map(str, ids)) + "}"}
    views = {row.id: _view(row) for row in connection.execute(_CONVERSATIONS, parameters)}
    for row in connection.execute(_MESSAGES, parameters):
        if row.conversation_id in views:
            message = MessageView(row.id, Kind(row.kind).name, row.content, row.timestamp)
            views[row.conversation_id].messages.append(message)
    return views


def _view(row: Any) -> ConversationView:
    return ConversationView(row.id, Status(row.status).name, row.created_at, row.updated_at, [])
