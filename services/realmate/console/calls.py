"""One request to the console's API, with what its answer needs; and the shapes that several answers share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec
from sqlalchemy import text
from sqlalchemy.orm import Session
from werkzeug.wrappers import Request

from realmate.feed.cursors import decoded, encoded
from realmate.query.parameters import Parameters, links, whole
from realmate.runtime.settings import Settings
from realmate.runtime.transaction import Statement, Transaction, Transactions
from realmate.sources.endpoint_file import NamedSettings
from realmate.sources.model import Source
from realmate.sources.tokens import Holder, Scope
from realmate.wire.ids import parse_uuid
from realmate.wire.openapi import Parameter
from realmate.wire.responses import FieldError, Response, problem

T = TypeVar("T")
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
Storable = Annotated[str, msgspec.Meta(pattern="^[^\\u0000]*$")]
"""Any text that the database can hold: it knows no NUL."""
Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""The number of a row."""
Uuid = Annotated[str, msgspec.Meta(extra_json_schema={"format": "uuid"})]


class Resources(NamedTuple):
    """What the service lends to the answers."""

    open_session: Callable[[], Any]
    transactions: Transactions
    sources: Mapping[str, Source]
    """The sources that are enabled now."""
    endpoints: Callable[[], NamedSettings]
    """Returns what the file of sources says of each endpoint now."""
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


class Paging(NamedTuple):
    """The part of a list that is asked for: the parameters `limit` and `cursor`."""

    limit: int
    after: Sequence[Any] | None
    """The place behind which it begins, as the page before gave it; None: at the beginning."""

    @property
    def one_more(self) -> int:
        """How many rows to read: one more than is shown tells whether there is another page."""
        return self.limit + 1

    def page(
        self, call: Call, asked: Parameters, rows: Sequence[T], place: Callable[[T], tuple[object, ...]]
    ) -> Page[T]:
        """Return the page of these rows, the first `one_more` of those that are there. `place` is behind a row."""
        shown = rows[: self.limit]
        if len(rows) <= self.limit:
            return Page(shown, None)
        cursor = encoded(msgspec.json.encode(place(shown[-1])))
        return Page(shown, f"{call.request.path}?{asked.but(cursor=cursor)}")


class Listing(msgspec.Struct, Generic[T]):
    """One page of a list, the newest first."""

    items: Sequence[T]
    next: Annotated[str | None, msgspec.Meta(description="The path and the query of the next page, if there is one.")]


class Page(NamedTuple, Generic[T]):
    rows: Sequence[T]
    following: str | None
    """The path and the query of the next page, if there is one."""

    def answer(self, items: Sequence[object]) -> Response:
        """Return it with its rows as `items` shows them."""
        return answered(Listing(items, self.following), headers=links(self.following))


def paging(asked: Parameters, usual: int, most: int, place: Any) -> Paging:
    """Take `limit` and `cursor` from the parameters. `place` is the type of what a cursor holds: a tuple."""
    return Paging(asked.one("limit", whole(1, most), usual), asked.one("cursor", _cursor_of(place), None))


def paging_parameters(usual: int, most: int) -> tuple[Parameter, ...]:
    """Describe the parameters that `paging` takes."""
    limit = {"type": "integer", "minimum": 1, "maximum": most, "default": usual}
    return (
        Parameter("limit", limit, "The most items in a page."),
        Parameter("cursor", {"type": "string"}, "The place in the list that `next` of the page before names."),
    )


def _cursor_of(place: Any) -> Callable[[str], Sequence[Any]]:
    def read(cursor: str) -> Sequence[Any]:
        try:
            values: Sequence[Any] = msgspec.json.decode(decoded(cursor), type=place)
        except ValueError:
            raise ValueError("is no cursor of this list") from None
        return values

    return read


def named_uuid(text_: str, field: str) -> str:
    """Read a UUID of the body. Raises InvalidBody."""
    try:
        return parse_uuid(text_)
    except ValueError:
        raise InvalidBody("must be a UUID", field) from None


class Audit(NamedTuple):
    """One line of the audit."""

    action: str
    target: str = ""
    source: str | None = None
    outcome: str = "done"


_RECORD = Statement(
    "record_deed",
    ("text",) * 6,
    "INSERT INTO audit (who, address, action, source, target, outcome) VALUES ($1, $2, $3, $4, $5, $6)",
)


def record(session: Session, call: Call, line: Audit) -> None:
    """Add a line to the audit, in the transaction of what it tells of."""
    session.execute(
        text(
            "INSERT INTO audit (who, address, action, source, target, outcome)"
            " VALUES (:who, :address, :action, :source, :target, :outcome)"
        ),
        {"who": call.holder.name, "address": call.address, **line._asdict()},
    )


def record_with(transaction: Transaction, call: Call, line: Audit) -> None:
    """Add a line to the audit with the commit of what it tells of."""
    said = (line.action, line.source, line.target, line.outcome)
    transaction.add(_RECORD, call.holder.name, call.address, *said)
