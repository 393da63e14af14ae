"""One request to the console's API, with what its answer needs; and the shapes that several answers share."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session
from werkzeug.wrappers import Request

from realmate.query.parameters import Parameters
from realmate.runtime.settings import Settings
from realmate.runtime.transaction import Transactions
from realmate.sources.model import Source
from realmate.sources.tokens import Holder, Scope
from realmate.wire.responses import FieldError, Response, problem

T = TypeVar("T")


class Resources(NamedTuple):
    """What the service lends to the answers."""

    open_session: Callable[[], Any]
    transactions: Transactions
    sources: Mapping[str, Source]
    """The sources that are enabled now."""
    settings: Settings


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose sender was admitted."""

    request: Request
    holder: Holder
    lent: Resources

    def session(self) -> Any:
        """Open a Session, whose block commits at its end."""
        return self.lent.open_session()

    def parameters(self, *known: str) -> Parameters:
        return Parameters(self.request.query_string.decode("latin-1"), known)

    @property
    def address(self) -> str:
        """The address of whoever asks: what the last proxy says, or else the other end of the connection."""
        forwarded = self.request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
        return (forwarded or self.request.remote_addr or "")[:64]

    def body(self, kind: type[T]) -> T:
        """Return the request's JSON as a value of this type. Raises InvalidBody."""
        try:
            return msgspec.json.decode(self.request.get_data() or b"{}", type=kind)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise InvalidBody(str(error)) from None


class InvalidBody(Exception):
    """The request's body is not what this call takes."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        what, _, place = message.partition(" - at `$")
        field = field or place.strip("`.")
        errors = (FieldError(field, what),) if field else ()
        self.response = problem(400, "invalid_body", f"The body is not valid: {message}.", errors=errors)


class Route(NamedTuple):
    """One call of the API: who may make it, and what answers it."""

    method: str
    path: str
    scope: Scope | None
    """The scope that it needs; None: anyone may call."""
    answer: Callable[..., Response]


NOT_FOUND = problem(404, "not_found", "There is no such thing, or this token may not see it.")


def answered(value: object, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    """Return a value as JSON."""
    return Response(status, msgspec.json.encode(value), headers=headers)


def page(items: Sequence[object], following: str | None) -> Response:
    """Return one page of a list."""
    links = (("Link", f'<{following}>; rel="next"'),) if following else ()
    return answered({"items": items, "next": following}, headers=links)


def packed_cursor(*values: object) -> str:
    """Return the place behind a row as a text that may stand in a query string."""
    return urlsafe_b64encode(json.dumps(values).encode()).rstrip(b"=").decode()


def cursor_of(*kinds: type) -> Callable[[str], list[Any]]:
    """Return a reader of such cursors, with values of these types."""

    def read(cursor: str) -> list[Any]:
        try:
            values = json.loads(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        except ValueError:
            values = None
        if not isinstance(values, list) or [type(value) for value in values] != list(kinds):
            raise ValueError("is no cursor of this list")
        return values

    return read


class Audit(NamedTuple):
    """One line of the audit."""

    action: str
    target: str = ""
    source: str | None = None
    outcome: str = "done"


def record(session: Session, call: Call, line: Audit) -> None:
    """Add a line to the audit, in the transaction of what it tells of."""
    record_for(session, call.holder.name, call.address, line)


def record_for(session: Session, who: str, address: str, line: Audit) -> None:
    session.execute(
        text(
            "INSERT INTO audit (who, address, action, source, target, outcome)"
            " VALUES (:who, :address, :action, :source, :target, :outcome)"
        ),
        {"who": who, "address": address, **line._asdict()},
    )
