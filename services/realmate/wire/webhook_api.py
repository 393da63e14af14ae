"""The description of `POST /webhook/`, for the API's document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from realmate.domain.events import PROMISES, Verdict
from realmate.sources.limits import Allowance, RateLimit
from realmate.wire.answers import (
    MISMATCH,
    PAUSED,
    REJECTIONS,
    UNKNOWN_SOURCE,
    answer,
    key_too_long,
    rejection,
    too_large,
    too_many,
    unproven,
)
from realmate.wire.commands import MessageCommand
from realmate.wire.openapi import Operation, Parameter, Success
from realmate.wire.responses import FieldError, Response
from realmate.wire.webhook import MAX_CONTENT_CHARS, InvalidEvent, InvalidJson

_UUID = {"type": "string", "description": "A UUID, in any of its usual forms."}
_CONTENT = {"type": "string", "minLength": 1, "maxLength": MAX_CONTENT_CHARS, "description": "Without NUL."}
_MOMENT = {"type": "string", "description": "A date and time of ISO 8601, such as 2025-06-04T14:20:05Z."}
_OF_A_CONVERSATION: dict[str, Any] = {"id": _UUID}
_OF_A_MESSAGE: dict[str, Any] = {"id": _UUID, "content": _CONTENT, "conversation_id": _UUID}
_LIMIT, _NOTHING_LEFT = RateLimit(events_per_s=50, burst=100), Allowance(0, 0, 0.2, 2.0)
_CONVERSATION, _MESSAGE = "6a41b347-8d80-4ce9-84ba-7af66f369f6a", "49108c71-4dca-4af3-9f32-61bc745926e2"
_COMMAND = MessageCommand("", _CONVERSATION, datetime(2025, 6, 4, tzinfo=UTC), _MESSAGE, "Olá")


class StoredEvent(msgspec.Struct):
    """An event that is stored: the promise is made after the commit."""

    status: Annotated[str, msgspec.Meta(extra_json_schema={"enum": sorted(PROMISES)})]
    conversation_id: str
    message_id: str | msgspec.UnsetType = msgspec.UNSET


def _event(kind: str, data: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "title": kind,
        "required": ["type", "timestamp", "data"],
        "properties": {
            "type": {"const": kind},
            "timestamp": _MOMENT,
            "data": {"type": "object", "required": sorted(data), "properties": data},
        },
    }


_EVENTS = {
    "oneOf": [
        _event("NEW_CONVERSATION", _OF_A_CONVERSATION),
        _event("NEW_MESSAGE", _OF_A_MESSAGE),
        _event("CLOSE_CONVERSATION", _OF_A_CONVERSATION),
    ]
}
_EXAMPLES = {
    kind: {"type": kind, "timestamp": "2025-06-04T14:20:05Z", "data": data}
    for kind, data in (
        ("NEW_CONVERSATION", {"id": _CONVERSATION}),
        ("NEW_MESSAGE", {"id": _MESSAGE, "content": "Olá", "conversation_id": _CONVERSATION}),
        ("CLOSE_CONVERSATION", {"id": _CONVERSATION}),
    )
}
_SUCCESSES = (
    Success(201, "`created`: the conversation is open.", StoredEvent),
    Success(
        202,
        "`accepted`: the message is in its conversation. `held`: it waits for its conversation. `duplicate`: it was"
        " stored before, and nothing happens twice.",
        StoredEvent,
    ),
    Success(200, "`closed`: the conversation is closed for good.", StoredEvent),
)
_PROBLEMS: tuple[Response, ...] = (
    *(answer(_COMMAND, verdict) for verdict in REJECTIONS if verdict is not Verdict.IDEMPOTENCY_MISMATCH),
    MISMATCH,
    rejection(InvalidJson("unexpected end of data at byte 17")),
    rejection(InvalidEvent((FieldError("data.conversation_id", "must be a UUID"),))),
    key_too_long(255),
    unproven("The signature is not that of this body."),
    too_large(65_536),
    too_many("shop", _LIMIT, _NOTHING_LEFT),
    PAUSED,
)
_PARAMETERS = (
    Parameter(
        "Idempotency-Key",
        {"type": "string", "maxLength": 255},
        "The same key with the same body gets the same answer again, for a day. `Webhook-Id` is one, too.",
        place="header",
    ),
)
_SUMMARY = "Send an event"
_DESCRIPTION = (
    "A 2xx is sent after the commit. What was not answered 2xx may be sent again, always. A source with a secret signs"
    " its events as Standard Webhooks say, or as its own scheme has it."
)
OPERATIONS = (
    Operation(
        "POST",
        "/webhook/",
        "send_event",
        _SUMMARY,
        _SUCCESSES,
        _PROBLEMS,
        _DESCRIPTION,
        _PARAMETERS,
        body=_EVENTS,
        body_examples=_EXAMPLES,
        tag="sending",
    ),
    Operation(
        "POST",
        "/webhook/{source}/",
        "send_event_of_source",
        f"{_SUMMARY} of one source",
        _SUCCESSES,
        (*_PROBLEMS, UNKNOWN_SOURCE),
        _DESCRIPTION,
        (Parameter("source", {"type": "string"}, "The name of the source.", place="path"), *_PARAMETERS),
        body=_EVENTS,
        body_examples=_EXAMPLES,
        tag="sending",
    ),
)
