"""`/admin/overview`: what waits, and how late; and `/admin/audit/`: who did what."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Literal

import msgspec
from sqlalchemy import text

from realmate.console.calls import Call, Listing, Moment, Number, answered, paging, paging_parameters
from realmate.conversations.change_statements import FEED_STATE
from realmate.conversations.statements import BACKLOG, HELD_OF_SOURCES
from realmate.domain.model import Status
from realmate.query.parameters import storable
from realmate.runtime.database_readiness import SCHEMA_REVISION
from realmate.wire.openapi import Operation, Parameter, Success
from realmate.wire.responses import Response

COUNTED = 10_000
"""How many conversations and groups are counted at most: more than that takes a table's time, and tells no more."""
LIMIT, MOST = 50, 200
KNOWN_OF_AUDIT = ("who", "action", "limit", "cursor")


class Overview(msgspec.Struct, kw_only=True):
    """What waits, and how late it is, in the whole installation."""

    open: Annotated[int, msgspec.Meta(description="The open conversations, up to `counted_at_most`.")]
    pending_groups: Annotated[int, msgspec.Meta(description="The groups without a reply, up to `counted_at_most`.")]
    held: Annotated[int, msgspec.Meta(description="The messages that wait for their conversations.")]
    counted_at_most: int
    overdue_s: Annotated[float, msgspec.Meta(description="How late the latest reply is, in seconds.")]
    feed: Annotated[
        Literal["starting", "complete"],
        msgspec.Meta(description="Whether all versions at work write changes (`complete`), or not yet."),
    ]
    feed_lag_s: Annotated[float, msgspec.Meta(description="How far the feed is behind, in seconds.")]
    version: str
    schema: Annotated[str, msgspec.Meta(description="The revision of the database's schema.")]
    schema_of_version: Annotated[str, msgspec.Meta(description="The revision that this version brings.")]


class AuditLine(msgspec.Struct):
    """One deed, with whoever did it."""

    id: int
    at: Moment
    who: Annotated[str, msgspec.Meta(description="The name of the token.")]
    address: str = msgspec.field(name="from")
    action: Annotated[str, msgspec.Meta(examples=["replay.start"])]
    source: str | None
    target: Annotated[str, msgspec.Meta(description="The rejection, conversation or job that it was done to.")]
    outcome: str


class AuditPage(Listing[AuditLine]):
    """One page of the audit, the newest first."""


def show_overview(call: Call) -> Response:
    [(groups, overdue_s)] = call.lent.transactions.fetch(BACKLOG, COUNTED)
    held = sum(messages for _, messages, _ in call.lent.transactions.fetch(HELD_OF_SOURCES))
    [(is_closed, lag_s)] = call.lent.transactions.fetch(FEED_STATE)
    with call.session() as session:
        opened = session.execute(
            text(
                "SELECT count(*) FROM sources CROSS JOIN LATERAL (SELECT FROM conversations"
                " WHERE source_id = sources.id AND status = :opened LIMIT :counted) AS met"
            ),
            {"opened": int(Status.OPEN), "counted": COUNTED},
        ).scalar_one()
        schema = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    return answered(
        Overview(
            open=min(opened, COUNTED),
            pending_groups=groups,
            held=held,
            counted_at_most=COUNTED,
            overdue_s=max(0.0, float(overdue_s)),
            feed="starting" if is_closed else "complete",
            feed_lag_s=float(lag_s),
            version=version("realmate"),
            schema=schema,
            schema_of_version=SCHEMA_REVISION,
        )
    )


def list_audit(call: Call) -> Response:
    asked = call.parameters(*KNOWN_OF_AUDIT)
    part = paging(asked, LIMIT, MOST, tuple[Number])
    values = {
        "who": asked.one("who", storable, None),
        "action": asked.one("action", storable, None),
        "after": part.after and part.after[0],
    }
    asked.check()
    conditions = {"who": "who = :who", "action": "action = :action", "after": "id < :after"}
    where = " AND ".join(["true", *(text_ for name, text_ in conditions.items() if values[name] is not None)])
    with call.session() as session:
        rows = session.execute(
            text(
                "SELECT id, at, who, address, action, source, target, outcome FROM audit"
                f" WHERE {where} ORDER BY id DESC LIMIT :limit"
            ),
            values | {"limit": part.one_more},
        )
        found = part.page(call, asked, [AuditLine(*row) for row in rows], lambda line: (line.id,))
    return found.answer(found.rows)


_LINE = AuditLine(
    912,
    datetime(2026, 11, 27, 14, 20, 5, tzinfo=UTC),
    "ana",
    "192.0.2.7",
    "replay.start",
    "shop",
    "0b9d3a52-7c1f-4a4e-9d0e-2f6f6f1c8a11",
    "12 to send",
)
_OVERVIEW = Overview(
    open=412,
    pending_groups=7,
    held=1,
    counted_at_most=COUNTED,
    overdue_s=0.0,
    feed="complete",
    feed_lag_s=0.02,
    version="0.2.0",
    schema=SCHEMA_REVISION,
    schema_of_version=SCHEMA_REVISION,
)
OPERATIONS = (
    Operation(
        "GET",
        "/admin/overview",
        "show_overview",
        "Show what waits, and how late it is",
        (Success(200, "The overview, of all sources.", Overview, example=_OVERVIEW),),
        (),
        scope="operate",
        tag="operations",
    ),
    Operation(
        "GET",
        "/admin/audit/",
        "list_audit",
        "List who did what",
        (Success(200, "The audit.", AuditPage, headers=("Link",), example=AuditPage([_LINE], None)),),
        (),
        "A line is kept for 400 days, and nobody can change it.",
        (
            Parameter("who", {"type": "string"}, "The lines of the token that has this name."),
            Parameter("action", {"type": "string", "examples": ["replay.start"]}, "The lines of this action."),
            *paging_parameters(LIMIT, MOST),
        ),
        scope="admin",
        tag="operations",
    ),
)
