"""`/admin/conversations/{source}/{id}/export`: all that is kept about one conversation, for whom it is about."""

from __future__ import annotations

from enum import IntEnum

from sqlalchemy import text

from realmate.console.calls import NOT_FOUND, Audit, Call, answered, record
from realmate.domain.model import MessageKind, Status
from realmate.wire.ids import parse_uuid
from realmate.wire.responses import Response, problem

MOST_BYTES = 32 * 1024 * 1024


def export(call: Call, source: str, conversation: str) -> Response:
    """Return it as one JSON document, and write down that somebody took it."""
    try:
        values = {"source": source, "id": parse_uuid(conversation)}
    except ValueError:
        return NOT_FOUND
    with call.session() as session:
        size = session.execute(
            text(
                "SELECT sum(octet_length(content)) FROM messages WHERE conversation_id = CAST(:id AS uuid)"
                " AND source_id = (SELECT id FROM sources WHERE name = :source)"
            ),
            values,
        ).scalar()
        if (size or 0) > MOST_BYTES:
            detail = f"The conversation has more than {MOST_BYTES} bytes. Read it page by page: GET …/messages/."
            return problem(507, "conversation_too_large", detail)
        found = session.execute(text(_CONVERSATION), values).mappings().first()
        messages = [dict(row) for row in session.execute(text(_MESSAGES), values).mappings()]
        rejections = [dict(row) for row in session.execute(text(_REJECTIONS), values).mappings()]
        if found is None and not rejections:
            return NOT_FOUND
        record(session, call, Audit("conversation.export", values["id"], source))
    for each in rejections:
        each["body"] = bytes(each["body"]).decode(errors="replace")
    document = {
        "source": source,
        "conversation": None if found is None else dict(found),
        "messages": messages,
        "rejections": rejections,
    }
    name = f"conversation-{values['id']}.json"
    return answered(document, headers=(("Content-Disposition", f'attachment; filename="{name}"'),))


def _named(column: str, names: type[IntEnum]) -> str:
    """Return SQL for the name of a number that is stored."""
    cases = [f"WHEN {each:d} THEN '{each.name}'" for each in names]
    return f"CASE {column} {' '.join(cases)} END"


_OF_SOURCE = "source_id = (SELECT id FROM sources WHERE name = :source)"
_CONVERSATION = f"""
    SELECT CAST(id AS text) AS id, {_named("status", Status)} AS status,
        created_at, updated_at, last_seq AS position
    FROM conversations WHERE id = CAST(:id AS uuid) AND {_OF_SOURCE}
"""
_MESSAGES = f"""
    SELECT CAST(id AS text) AS id, {_named("kind", MessageKind)} AS type, content, "timestamp", arrived_at,
        seq AS position
    FROM messages WHERE conversation_id = CAST(:id AS uuid) AND {_OF_SOURCE} ORDER BY seq, arrived_at
"""
_REJECTIONS = f"""
    SELECT id, at, code, detail, request_id, body FROM rejections
    WHERE conversation_id = CAST(:id AS uuid) AND {_OF_SOURCE} ORDER BY id
"""
