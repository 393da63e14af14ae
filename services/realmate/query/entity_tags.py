"""Entity tags: a reader who has an answer already gets 304 instead of the same answer again (RFC 9110, 13.1.2)."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from realmate.http_server import Request
from realmate.wire.openapi import Parameter
from realmate.wire.responses import Response

HEADER = "if-none-match"
IF_NONE_MATCH = Parameter(
    "If-None-Match", {"type": "string"}, "The entity tags of the answers that the reader has.", place="header"
)


def tag(content: bytes) -> str:
    """Return the entity tag of what is made of this content."""
    return f'"{blake2b(content, digest_size=12).hexdigest()}"'


def is_known(request: Request, current: str) -> bool:
    """Whether the reader says that he has the answer with this tag."""
    given = request.headers.get(HEADER)
    if given is None:
        return False
    known = [each.strip().removeprefix("W/") for each in given.split(",")]
    return current in known or known == ["*"]


def answer_unless_known(request: Request, current: str, response: Response) -> Response:
    """Return the response with its tag, or 304 where the reader has it already."""
    if is_known(request, current):
        return not_modified(current)
    return msgspec.structs.replace(response, headers=(*response.headers, ("ETag", current)))


def not_modified(current: str) -> Response:
    return Response(304, b"", headers=(("ETag", current),))
