"""The problems that several of the readers' answers share."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from realmate.http_server import Request
from realmate.http_server.readers import token_rejections
from realmate.wire.responses import Response, problem, unavailable

log = structlog.get_logger(__name__)

STARTING_HEADERS = (("Retry-After", "5"),)
NOT_FOUND = problem(404, "conversation_not_found", "There is no such conversation.")


TOO_LARGE = problem(
    507, "conversation_too_large", "This conversation is larger than HTTP_BUDGET_BYTES, and so cannot be shown."
)


def ambiguous(sources: Sequence[str]) -> Response:
    """Several sources have a conversation of this id."""
    names = ", ".join(sources)
    detail = f"Several sources have a conversation of this id: {names}. Name one of them, as in ?source={sources[0]}."
    return problem(409, "ambiguous_source", detail, sources=sources)


def lists_starting(detail: str) -> Response:
    """An older version is at work, or its conversations have not got their places in lists yet."""
    return problem(503, "lists_starting", detail, headers=STARTING_HEADERS)


def feed_starting(detail: str) -> Response:
    """An older version is at work, which writes no changes."""
    return problem(503, "feed_starting", detail, headers=STARTING_HEADERS)


def cursor_expired(oldest: str) -> Response:
    """What came after the cursor is not kept any more."""
    detail = "What came after this cursor is not kept any more. List the conversations anew, or go on from `oldest`."
    return problem(410, "cursor_expired", detail, oldest=oldest)


CANNOT_READ = unavailable("The conversations cannot be read now; ask again.")


READ_PROBLEMS = (*token_rejections("read"), CANNOT_READ)
"""What any reader may be answered."""


def cannot_read(error: Exception, request: Request) -> Response:
    """Log an outage, and return what a reader is told of it."""
    log.warning("cannot read", reason=str(error).partition("\n")[0], request_id=request.request_id)
    return CANNOT_READ
