"""`/admin/endpoints/{name}/deliveries/`: what was sent to an endpoint, what waits, and sending one again."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import msgspec

from realmate.admin.delivery_attempts import newest_attempts, pending
from realmate.console.calls import NOT_FOUND, Audit, Call, Moment, Number, answered, paging, record_with
from realmate.console.endpoint_views import Attempt, DeliveryView, Resent
from realmate.console.endpoints import found_for
from realmate.deliveries.resending import lock_attempt, send_again
from realmate.query.parameters import choice
from realmate.wire.responses import Response

KINDS = ("attempts", "failures", "pending")
LIMIT, MOST = 50, 200
LARGEST_NUMBER = 2**63 - 1
_SourceNumber = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


def list_deliveries(call: Call, name: str) -> Response:
    asked = call.parameters("show", "limit", "cursor")
    kind = asked.one("show", choice({each: each for each in KINDS}), "attempts")
    place: Any = tuple[Moment, UUID, _SourceNumber] if kind == "pending" else tuple[Number]
    part = paging(asked, LIMIT, MOST, place)
    asked.check()
    found = found_for(call, name)
    if isinstance(found, Response):
        return found
    sources = call.holder.sources
    with call.session() as session:
        connection = session.connection()
        if kind == "pending":
            rows = pending(connection, found.id, limit=part.one_more, after=part.after, sources=sources)
        else:
            before = part.after[0] if part.after else None
            only_failures = kind == "failures"
            rows = newest_attempts(
                connection, found.id, limit=part.one_more, before=before, only_failures=only_failures, sources=sources
            )
    page = part.page(call, asked, rows, _place_of_pending if kind == "pending" else lambda row: (row.id,))
    return page.answer([_view(row) for row in page.rows])


def retry(call: Call, name: str, number: int) -> Response:
    """Send the event of an attempt again, with the audit's line in the same commit."""
    found = found_for(call, name)
    if isinstance(found, Response):
        return found
    if number > LARGEST_NUMBER:
        return NOT_FOUND
    with call.lent.transactions.begin() as transaction:
        attempted = lock_attempt(transaction, found.id, number)
        if attempted is None or not call.holder.may_see(attempted.source):
            return NOT_FOUND
        send_again(transaction, found.id, attempted)
        record_with(transaction, call, Audit("delivery.retry", f"{name} {attempted.event_id}", attempted.source))
        transaction.commit()
    return answered(Resent(attempted.event_id, found.pause_reason is not None), 202)


def _place_of_pending(row: Any) -> tuple[object, ...]:
    return row.due_at, row.conversation_id, row.source_id


def _view(row: Any) -> DeliveryView:
    attempt = Attempt.of(row)
    return DeliveryView(
        row.event_id,
        row.type,
        row.event_at,
        row.source,
        row.conversation_id,
        0 if attempt is None else attempt.number,
        row.is_pending,
        row.next_attempt_at,
        attempt,
    )
