"""`/admin/conversations/{source}/{id}/export`: all that is kept about one conversation, for whom it is about."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

import msgspec

from realmate.admin.exporting import ConversationTooLarge, exported
from realmate.console.calls import NOT_FOUND, Audit, Call, Moment, Uuid, record
from realmate.query.parameters import storable
from realmate.wire.ids import parse_uuid
from realmate.wire.openapi import Operation, Parameter, Success
from realmate.wire.responses import Response, problem

TOO_LARGE = problem(507, "conversation_too_large", str(ConversationTooLarge()))


class ExportedConversation(msgspec.Struct):
    """The state of the conversation."""

    id: Uuid
    status: Literal["PENDING", "OPEN", "CLOSED"]
    created_at: Moment
    updated_at: Moment
    position: int


class ExportedMessage(msgspec.Struct):
    """A message, whether it is in the conversation, waits for it, or waited in vain."""

    id: Uuid
    type: Literal["INBOUND", "OUTBOUND", "HELD", "EXPIRED"]
    content: str
    timestamp: Moment
    arrived_at: Moment
    position: int | None


class ExportedRejection(msgspec.Struct):
    """An event about the conversation that was rejected, or a message that expired."""

    id: int
    at: Moment
    code: str
    detail: str
    request_id: str | None
    body: str


class Export(msgspec.Struct):
    """All that is kept about one conversation."""

    source: str
    conversation: ExportedConversation | None
    messages: list[ExportedMessage]
    rejections: list[ExportedRejection]


def export(call: Call, source: str, conversation: str) -> Response:
    """Return it as one JSON document, and write down that somebody took it."""
    try:
        source, conversation_id = storable(source), parse_uuid(conversation)
    except ValueError:
        return NOT_FOUND
    with call.session() as session:
        try:
            document = exported(session.connection(), source, conversation_id)
        except ConversationTooLarge:
            return TOO_LARGE
        if document is None:
            return NOT_FOUND
        record(session, call, Audit("conversation.export", conversation_id, source))
    name = f"conversation-{conversation_id}.json"
    return Response(200, document, headers=(("Content-Disposition", f'attachment; filename="{name}"'),))


_AT = datetime(2026, 11, 27, 14, 20, 5, tzinfo=UTC)
_EXAMPLE = Export(
    "shop",
    ExportedConversation("6a41b347-8d80-4ce9-84ba-7af66f369f6a", "OPEN", _AT, _AT, 1),
    [ExportedMessage("49108c71-4dca-4af3-9f32-61bc745926e2", "INBOUND", "Olá", _AT, _AT, 1)],
    [],
)
OPERATION = Operation(
    "GET",
    "/admin/conversations/{source}/{conversation}/export",
    "export_conversation",
    "Get all that is kept about a conversation",
    (Success(200, "The export.", Export, headers=("Content-Disposition",), example=_EXAMPLE),),
    (NOT_FOUND, TOO_LARGE),
    "Messages that wait or expired are in it, and what was rejected about it. Whoever takes it is in the audit.",
    (
        Parameter("source", {"type": "string"}, "The name of the source.", place="path"),
        Parameter("conversation", {"type": "string"}, "The conversation, as a UUID.", place="path"),
    ),
    scope="admin",
    tag="operations",
)
