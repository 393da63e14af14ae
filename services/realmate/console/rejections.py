"""`/admin/rejections/`: what was rejected or expired, newest first, and one of them with its event."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from sqlalchemy import text

from realmate.admin.rejections import COLUMNS, find
from realmate.admin.replay import ReplayAction, action_for
from realmate.console.calls import (
    NOT_FOUND,
    Audit,
    Call,
    Listing,
    Moment,
    Number,
    Uuid,
    answered,
    paging,
    paging_parameters,
    record,
)
from realmate.query.parameters import choice, storable
from realmate.wire.ids import parse_uuid
from realmate.wire.moments import parse_moment
from realmate.wire.openapi import Operation, Parameter, Success
from realmate.wire.responses import FieldError, Response

KNOWN = ("source", "code", "since", "until", "conversation", "replayed", "limit", "cursor")
LIMIT, MOST = 50, 200
MOST_NAMED = 20
LARGEST_NUMBER = 2**63 - 1
"""The largest number that a rejection can have in Postgres."""


class ReplayOutcome(msgspec.Struct):
    """The answer that the event got when it was sent again."""

    at: Moment
    status: Annotated[int, msgspec.Meta(description="The status of the answer.")]
    code: Annotated[str | None, msgspec.Meta(description="The code of the problem, if the answer was one.")]


class ListedRejection(msgspec.Struct):
    """An event that was rejected, or a message that expired."""

    id: int
    at: Moment
    source: str
    code: Annotated[str, msgspec.Meta(description="The code of the problem that its sender got; or `expired`.")]
    detail: Annotated[str, msgspec.Meta(description="Why it was rejected, for a person.")]
    request_id: str | None
    conversation_id: Uuid | None
    message_id: Uuid | None
    replayable: Annotated[bool, msgspec.Meta(description="Whether sending it again can bring another answer.")]
    replay: ReplayOutcome | None


class RejectionsPage(Listing[ListedRejection]):
    """One page of rejections, the newest first."""


class RejectionCodes(msgspec.Struct):
    """The codes that there are, in the order of the alphabet."""

    items: list[str]


class ShownRejection(ListedRejection):
    """A rejection with its event."""

    body: Annotated[str, msgspec.Meta(description="The event, as it came. Bytes that are no UTF-8 become U+FFFD.")]
    body_base64: Annotated[str | None, msgspec.Meta(description="Its bytes, where they are no UTF-8.")]
    errors: Annotated[list[FieldError], msgspec.Meta(description="The fields that were wrong, if it was about those.")]


def list_rejections(call: Call) -> Response:
    asked = call.parameters(*KNOWN)
    sources = asked.sources(call.holder.sources, MOST_NAMED)
    codes = asked.several("code", storable, MOST_NAMED)
    part = paging(asked, LIMIT, MOST, tuple[Moment, Number])
    at, number = part.after or (None, None)
    values: dict[str, Any] = {
        "since": asked.one("since", parse_moment, None),
        "until": asked.one("until", parse_moment, None),
        "conversation": asked.one("conversation", parse_uuid, None),
        "at": at,
        "id": number,
    }
    replayed = asked.one("replayed", choice({"true": True, "false": False}), None)
    asked.check()
    conditions = _conditions(values, replayed)
    with call.session() as session:
        rows = session.execute(
            text(_newest(conditions, by_source=sources is not None, by_code=codes is not None)),
            values | {"sources": sorted(sources or ()), "codes": sorted(codes or ()), "limit": part.one_more},
        ).all()
    newest = part.page(call, asked, rows, lambda row: (row.at, row.id))
    return newest.answer([_listed(row) for row in newest.rows])


def _conditions(values: Mapping[str, Any], replayed: bool | None) -> str:  # noqa: FBT001 (three values)
    conditions = {
        "since": "at >= :since",
        "until": "at < :until",
        "conversation": "conversation_id = CAST(:conversation AS uuid)",
        "at": "(at, rejection.id) < (CAST(:at AS timestamptz), :id)",
    }
    said = [condition for name, condition in conditions.items() if values[name] is not None]
    if replayed is not None:
        said.append(f"replayed_at IS {'NOT ' if replayed else ''}NULL")
    return " AND ".join(["true", *said])


def _newest(conditions: str, *, by_source: bool, by_code: bool) -> str:
    """Return SQL for the newest ones. Each named source, code, or pair of both is one walk along an index."""
    named = []
    if by_source:
        conditions += " AND source_id = wanted.chosen"
        named.append("(SELECT id FROM sources WHERE name = ANY (:sources)) AS wanted (chosen)")
    if by_code:
        conditions += " AND code = named.chosen"
        named.append("unnest(CAST(:codes AS text[])) AS named (chosen)")
    order = "ORDER BY at DESC, rejection.id DESC LIMIT :limit"
    walk = f"(SELECT rejection.* FROM rejections AS rejection WHERE {conditions} {order}) AS rejection"
    chosen = " CROSS JOIN ".join([*named, f"LATERAL {walk}"])
    return f"SELECT {COLUMNS} FROM {chosen} JOIN sources AS source ON source.id = source_id {order}"


def list_codes(call: Call) -> Response:
    """Return the codes that there are, each found by one step along the index of codes."""
    with call.session() as session:
        codes = session.execute(
            text(
                "WITH RECURSIVE codes AS (SELECT (SELECT min(code) FROM rejections) AS code UNION ALL"
                " SELECT (SELECT min(code) FROM rejections WHERE code > codes.code) FROM codes WHERE code IS NOT NULL)"
                " SELECT code FROM codes WHERE code IS NOT NULL"
            )
        ).scalars()
        return answered(RejectionCodes(list(codes)))


def show_rejection(call: Call, number: int) -> Response:
    """Return one with its event, and write down that somebody looked at it."""
    if number > LARGEST_NUMBER:
        return NOT_FOUND
    with call.session() as session:
        rejection = find(session.connection(), number)
        if rejection is None or not call.holder.may_see(rejection.source):
            return NOT_FOUND
        record(session, call, Audit("rejection.read", str(number), rejection.source))
    listed = msgspec.structs.asdict(_listed(rejection))
    body, exact = _text_of(rejection.body)
    return answered(ShownRejection(**listed, body=body, body_base64=exact, errors=_errors(rejection.detail)))


def _text_of(body: bytes) -> tuple[str, str | None]:
    """Return an event's body as text; and in base64 what it was, where that loses something."""
    try:
        return body.decode(), None
    except UnicodeDecodeError:
        return body.decode(errors="replace"), b64encode(body).decode()


def _errors(detail: str) -> list[FieldError]:
    """Return the fields that a rejection's reason names, as `summary_of` wrote them."""
    parts = [part.partition(": ") for part in detail.split("; ")]
    return [FieldError(field, message) for field, _, message in parts if message and " " not in field]


def _listed(row: Any) -> ListedRejection:
    """Return how a row, or a whole rejection, stands in a list."""
    replay = None if row.replayed_at is None else ReplayOutcome(row.replayed_at, row.replay_status, row.replay_code)
    return ListedRejection(
        row.id,
        row.at,
        row.source,
        row.code,
        row.detail,
        row.request_id,
        row.conversation_id,
        row.message_id,
        action_for(row.code) is not ReplayAction.NOT_SENT,
        replay,
    )


_MOMENT = {"type": "string", "examples": ["2026-11-27T00:00:00Z"]}
_LISTED = ListedRejection(
    48213,
    datetime(2026, 11, 27, 14, 20, 5, tzinfo=UTC),
    "shop",
    "expired",
    "The conversation did not come in time.",
    "0197a1c2d3",
    "6a41b347-8d80-4ce9-84ba-7af66f369f6a",
    "49108c71-4dca-4af3-9f32-61bc745926e2",
    replayable=True,
    replay=None,
)
OPERATIONS = (
    Operation(
        "GET",
        "/admin/rejections/",
        "list_rejections",
        "List what was rejected, or expired",
        (
            Success(
                200,
                "The rejections that fit, the newest first.",
                RejectionsPage,
                headers=("Link",),
                example=RejectionsPage([_LISTED], "/admin/rejections/?source=shop&cursor=WyIyMDI2…"),
            ),
        ),
        (),
        parameters=(
            Parameter("source", {"type": "string"}, "Those of this source; 20 sources at most.", is_repeatable=True),
            Parameter("code", {"type": "string"}, "Those of this code; 20 codes at most.", is_repeatable=True),
            Parameter("since", _MOMENT, "Those from this moment on."),
            Parameter("until", _MOMENT, "Those before this moment."),
            Parameter("conversation", {"type": "string"}, "Those of this conversation, a UUID in any form."),
            Parameter("replayed", {"enum": ["true", "false"]}, "Those that a replay has, or has not, sent again."),
            *paging_parameters(LIMIT, MOST),
        ),
        scope="operate",
        tag="operations",
    ),
    Operation(
        "GET",
        "/admin/rejections/codes/",
        "list_codes_of_rejections",
        "List the codes that rejections have",
        (
            Success(
                200,
                "The codes, of all sources.",
                RejectionCodes,
                example=RejectionCodes(["conversation_closed", "expired", "invalid_event"]),
            ),
        ),
        (),
        scope="operate",
        tag="operations",
    ),
    Operation(
        "GET",
        "/admin/rejections/{number}/",
        "show_rejection",
        "Show a rejection with its event",
        (
            Success(
                200,
                "The rejection.",
                ShownRejection,
                example=ShownRejection(
                    **msgspec.structs.asdict(_LISTED), body='{"type": "NEW_MESSAGE", …}', body_base64=None, errors=[]
                ),
            ),
        ),
        (NOT_FOUND,),
        "Whoever looks at one is in the audit.",
        (Parameter("number", {"type": "integer", "minimum": 0}, "The `id` of the rejection.", place="path"),),
        scope="operate",
        tag="operations",
    ),
)
