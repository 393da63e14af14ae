"""`/admin/rejections/`: what was rejected or expired, newest first, and one of them with its event."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import text

from realmate.admin.rejections import COLUMNS, find
from realmate.admin.replay import ReplayAction, action_for
from realmate.console.calls import NOT_FOUND, Audit, Call, answered, paging, record
from realmate.query.parameters import choice
from realmate.wire.ids import parse_uuid
from realmate.wire.moments import parse_moment
from realmate.wire.responses import FieldError, Response

KNOWN = ("source", "code", "since", "until", "conversation", "replayed", "limit", "cursor")
LIMIT, MOST = 50, 200
MOST_NAMED = 20


class Replayed(msgspec.Struct):
    """What became of a replay."""

    at: datetime
    status: int
    code: str | None


class Listed(msgspec.Struct):
    """One rejection, in a list."""

    id: int
    at: datetime
    source: str
    code: str
    detail: str
    request_id: str | None
    conversation_id: str | None
    message_id: str | None
    replayable: bool
    """Whether sending it again can bring another answer."""
    replay: Replayed | None


def list_rejections(call: Call) -> Response:
    asked = call.parameters(*KNOWN)
    sources = asked.sources(call.holder.sources, MOST_NAMED)
    codes = asked.several("code", str, MOST_NAMED)
    part = paging(asked, LIMIT, MOST, str, int)
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
    newest = part.page(call, asked, rows, lambda row: (row.at.astimezone(UTC).isoformat(), row.id))
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
    """Return SQL for the newest ones. Each named source, or else each named code, is one walk along an index."""
    walk = f"FROM rejections AS rejection WHERE {conditions}"
    if by_code:
        walk += " AND code = ANY (:codes)" if by_source else " AND code = wanted.chosen"
    if by_source:
        walk += " AND source_id = wanted.chosen"
    order = "ORDER BY at DESC, rejection.id DESC LIMIT :limit"
    found = f"(SELECT rejection.* {walk} {order}) AS rejection"
    if by_source:
        chosen = f"(SELECT id FROM sources WHERE name = ANY (:sources)) AS wanted (chosen) CROSS JOIN LATERAL {found}"
    elif by_code:
        chosen = f"unnest(CAST(:codes AS text[])) AS wanted (chosen) CROSS JOIN LATERAL {found}"
    else:
        chosen = found
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
        return answered({"items": list(codes)})


def show_rejection(call: Call, number: int) -> Response:
    """Return one with its event, and write down that somebody looked at it."""
    with call.session() as session:
        rejection = find(session.connection(), number)
        if rejection is None or not call.holder.may_see(rejection.source):
            return NOT_FOUND
        record(session, call, Audit("rejection.read", str(number), rejection.source))
    shown = msgspec.structs.asdict(_listed(rejection))
    return answered(shown | _body(rejection.body) | {"errors": _errors(rejection.detail)})


def _body(body: bytes) -> dict[str, str | None]:
    """Return an event's body as text. Where that loses something, its bytes are there, too."""
    try:
        return {"body": body.decode(), "body_base64": None}
    except UnicodeDecodeError:
        return {"body": body.decode(errors="replace"), "body_base64": b64encode(body).decode()}


def _errors(detail: str) -> list[FieldError]:
    """Return the fields that a rejection's reason names, as `summary_of` wrote them."""
    parts = [part.partition(": ") for part in detail.split("; ")]
    return [FieldError(field, message) for field, _, message in parts if message and " " not in field]


def _listed(row: Any) -> Listed:
    """Return how a row, or a whole rejection, stands in a list."""
    replay = None if row.replayed_at is None else Replayed(row.replayed_at, row.replay_status, row.replay_code)
    return Listed(
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
