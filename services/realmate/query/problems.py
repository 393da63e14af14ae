"""The problems that several of the readers' answers share."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from realmate.http_server import Request
from realmate.wire.responses import Response, problem, unavailable

log = structlog.get_logger(__name__)

NOT_FOUND = problem(404, "conversation_not_found", "There is no such conversation.")


def ambiguous(sources: Sequence[str]) -> Response:
    """Several sources have a conversation of this id."""
    names = ", ".join(sources)
    detail = f"Several sources have a conversation of this id: {names}. Name one of them, as in ?source={sources[0]}."
    return problem(409, "ambiguous_source", detail, sources=sources)


def cannot_read(error: Exception, request: Request) -> Response:
    """Log an outage, and return what a reader is told of it."""
    log.warning("cannot read", reason=str(error).partition("\n")[0], request_id=request.request_id)
    return unavailable("The conversations cannot be read now; ask again.")
