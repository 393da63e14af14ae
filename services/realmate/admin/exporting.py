"""All that is kept about one conversation, as one JSON document, for whom it is about."""

from __future__ import annotations

from enum import IntEnum

import msgspec
from sqlalchemy import Connection, text

from realmate.domain.model import MessageKind, Status
from realmate.errors import UserError

MOST_BYTES = 32 * 1024 * 1024


class ConversationTooLarge(UserError):
    """The conversation does not fit into one document."""

    def __init__(self) -> None:
        super().__init__(
            f"The conversation has more than {MOST_BYTES} bytes. Read it page by page: GET /conversations/…/messages/."
        )


def exported(connection: Connection, source: str, conversation_id: str) -> bytes | None:
    """Return the document, or None where nothing is known of the conversation. Raises ConversationTooLarge."""
    values = {"source": source, "id": conversation_id}
    if (connection.execute(text(_SIZE), values).scalar() or 0) > MOST_BYTES:
        raise ConversationTooLarge
    conversation = connection.execute(text(_CONVERSATION), values).mappings().first()
    messages = connection.execute(text(_MESSAGES), values).mappings().all()
    rejections = connection.execute(text(_REJECTIONS), values).mappings().all()
    if conversation is None and not rejections:
        return None
    document = {
        "source": source,
        "conversation": None if conversation is None else dict(conversation),
        "messages": [dict(each) for each in messages],
        "rejections": [{**each, "body": bytes(each["body"]).decode(errors="replace")} for each in rejections],
    }
    return msgspec.json.encode(document)


def _named(column: str, names: type[IntEnum]) -> str:
    """Return SQL for the name of a number that is stored."""
    cases = [f"WHEN {each:d} THEN '{each.name}'" for each in names]
    return f"CASE {column} {' '.join(cases)} END"


_OF_SOURCE = "source_id = (SELECT id FROM sources WHERE name = :source)"
_ABOUT_IT = f"conversation_id = CAST(:id AS uuid) AND {_OF_SOURCE}"
_SIZE = f"SELECT sum(octet_length(content)) FROM messages WHERE {_ABOUT_IT}"
_CONVERSATION = f"""
    SELECT CAST(id AS text) AS id, {_named("status", Status)} AS status,
        created_at, updated_at, last_seq AS position
    FROM conversations WHERE id = CAST(:id AS uuid) AND {_OF_SOURCE}
"""
_MESSAGES = f"""
    SELECT CAST(id AS text) AS id, {_named("kind", MessageKind)} AS type, content, "timestamp", arrived_at,
        seq AS position
    FROM messages WHERE {_ABOUT_IT} ORDER BY seq, arrived_at
"""
_REJECTIONS = f"""
    SELECT id, at, code, detail, request_id, body FROM rejections WHERE {_ABOUT_IT} ORDER BY id
"""
