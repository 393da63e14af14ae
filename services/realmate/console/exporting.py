"""`/admin/conversations/{source}/{id}/export`: all that is kept about one conversation, for whom it is about."""

from __future__ import annotations

from realmate.admin.exporting import ConversationTooLarge, exported
from realmate.console.calls import NOT_FOUND, Audit, Call, record
from realmate.wire.ids import parse_uuid
from realmate.wire.responses import Response, problem


def export(call: Call, source: str, conversation: str) -> Response:
    """Return it as one JSON document, and write down that somebody took it."""
    try:
        conversation_id = parse_uuid(conversation)
    except ValueError:
        return NOT_FOUND
    with call.session() as session:
        try:
            document = exported(session.connection(), source, conversation_id)
        except ConversationTooLarge as error:
            return problem(507, "conversation_too_large", str(error))
        if document is None:
            return NOT_FOUND
        record(session, call, Audit("conversation.export", conversation_id, source))
    name = f"conversation-{conversation_id}.json"
    return Response(200, document, headers=(("Content-Disposition", f'attachment; filename="{name}"'),))
