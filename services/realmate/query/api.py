"""The document of what senders and readers call (OpenAPI 3.1), as `GET /openapi.json` shows it.

The console's document has these operations, too, and its own (realmate/console/api.py).
"""

from __future__ import annotations

import msgspec

from realmate.http_server import rejections
from realmate.http_server.readers import COOKIES
from realmate.query import changes, lists, messages
from realmate.query.entity_tags import IF_NONE_MATCH
from realmate.query.parameters import ID, INVALID_QUERY, SOURCE
from realmate.query.problems import NOT_FOUND, READ_PROBLEMS, TOO_LARGE, ambiguous
from realmate.query.reads import MOST_MESSAGES, ConversationView
from realmate.wire.openapi import Operation, Parameter, Success, document
from realmate.wire.responses import Response
from realmate.wire.webhook_api import OPERATIONS as WEBHOOK

SHOW = Operation(
    "GET",
    "/conversations/{id}/",
    "show_conversation",
    "Show a conversation with its messages",
    (
        Success(
            200,
            "The conversation. Its messages are in the order of their timestamps.",
            ConversationView,
            headers=("ETag",),
        ),
        Success(304, "Nothing has changed.", headers=("ETag",)),
    ),
    (*READ_PROBLEMS, INVALID_QUERY, NOT_FOUND, ambiguous(["shop", "store"]), TOO_LARGE),
    parameters=(
        ID,
        SOURCE,
        Parameter("messages", {"type": "integer", "minimum": 0, "maximum": MOST_MESSAGES}, "So many of the last ones."),
        IF_NONE_MATCH,
    ),
    scope="read",
)
DESCRIBE = Operation(
    "GET",
    "/openapi.json",
    "describe",
    "Get the description of what senders and readers call",
    (Success(200, "The document, without the operations.", {"type": "object"}),),
    (),
)
EVERYWHERE: tuple[Response, ...] = (
    rejections.malformed("the request line is not one"),
    rejections.TIMED_OUT,
    rejections.body_too_large(1_048_576),
    rejections.UNSUPPORTED_ENCODING,
    rejections.UNKNOWN_EXPECTATION,
    rejections.head_too_large(32_768),
    rejections.UNKNOWN_METHOD,
    rejections.UNKNOWN_CODING,
    rejections.OVERLOADED,
    rejections.UNKNOWN_VERSION,
)
"""What the HTTP server itself may answer."""
OPERATIONS = (*WEBHOOK, lists.OPERATION, SHOW, messages.OPERATION, changes.OPERATION, DESCRIBE)
INFO = {
    "title": "Realmate",
    "version": "1",
    "description": "Conversations of an attendance platform: events in, a reply for each group of messages, and all of"
    " it to be read, listed and followed.",
}
DOCUMENT = msgspec.json.format(
    msgspec.json.encode(document(INFO, OPERATIONS, EVERYWHERE, server=".", cookies=COOKIES)), indent=1
)
