"""`/admin/overview`: what waits, and how late; and `/admin/audit/`: who did what."""

from __future__ import annotations

from importlib.metadata import version

from sqlalchemy import text

from realmate.console.calls import Call, answered, paging
from realmate.conversations.change_statements import FEED_STATE
from realmate.conversations.statements import BACKLOG, HELD_OF_SOURCES
from realmate.domain.model import Status
from realmate.runtime.database_readiness import SCHEMA_REVISION
from realmate.wire.responses import Response

COUNTED = 10_000
"""How many conversations and groups are counted at most: more than that takes a table's time, and tells no more."""
LIMIT, MOST = 50, 200


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
        {
            "open": min(opened, COUNTED),
            "pending_groups": groups,
            "held": held,
            "counted_at_most": COUNTED,
            "overdue_s": max(0.0, float(overdue_s)),
            "feed": "starting" if is_closed else "complete",
            "feed_lag_s": float(lag_s),
            "version": version("realmate"),
            "schema": schema,
            "schema_of_version": SCHEMA_REVISION,
        }
    )


def list_audit(call: Call) -> Response:
    asked = call.parameters("who", "action", "limit", "cursor")
    part = paging(asked, LIMIT, MOST, int)
    values = {
        "who": asked.one("who", str, None),
        "action": asked.one("action", str, None),
        "after": part.after and part.after[0],
    }
    asked.check()
    conditions = {"who": "who = :who", "action": "action = :action", "after": "id < :after"}
    where = " AND ".join(["true", *(text_ for name, text_ in conditions.items() if values[name] is not None)])
    with call.session() as session:
        rows = session.execute(
            text(
                'SELECT id, at, who, address AS "from", action, source, target, outcome FROM audit'
                f" WHERE {where} ORDER BY id DESC LIMIT :limit"
            ),
            values | {"limit": part.one_more},
        ).mappings()
        found = part.page(call, asked, [dict(row) for row in rows], lambda row: (row["id"],))
    return found.answer(found.rows)
