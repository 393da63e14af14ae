"""HTTP answers as values: what the services return and what the HTTP runtime writes.

Errors are RFC 9457 problems: a program switches on `code` (or on `type`, a URN made of it), a person reads `title` and
`detail`. No stack trace, no class name ever enters one.
"""

from __future__ import annotations

from typing import Any

import msgspec

JSON = "application/json"
PROBLEM_JSON = "application/problem+json"


class Response(msgspec.Struct, frozen=True):
    """One HTTP response. `headers` are extra ones; the server adds length, type, date and connection."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


class FieldError(msgspec.Struct, frozen=True):
    field: str
    message: str


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    errors: tuple[FieldError, ...] = (),
    headers: tuple[tuple[str, str], ...] = (),
    **members: object,
) -> Response:
    """An RFC 9457 problem with Realmate's `code` member, and with further ones of its own."""
    document: dict[str, Any] = {
        "type": f"urn:realmate:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
    } | members
    if errors:
        document["errors"] = errors
    return Response(status, msgspec.json.encode(document), PROBLEM_JSON, headers)


class _Problem(msgspec.Struct):
    code: str
    detail: str
    errors: tuple[FieldError, ...] = ()


def summary_of(response: Response) -> tuple[str, str]:
    """A problem's code, and in one line what is wrong."""
    told = msgspec.json.decode(response.body, type=_Problem)
    return told.code, "; ".join(f"{error.field}: {error.message}" for error in told.errors) or told.detail


def unavailable(detail: str, *, retry_after_s: int = 1) -> Response:
    """503: nothing was promised, sending again is right."""
    return problem(503, "unavailable", detail, headers=(("Retry-After", str(retry_after_s)),))
