"""`/admin/sources/`: how each source is set up and how it fares; and what a source would say to a request."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from sqlalchemy import text

from realmate.console.calls import NOT_FOUND, Call, Moment, answered
from realmate.conversations.rules import default_rules
from realmate.sources.model import DAY_S, Source
from realmate.sources.signing import SignatureRejected
from realmate.wire.answers import PAUSED, rejection, too_large, unproven
from realmate.wire.openapi import Operation, Parameter, Success
from realmate.wire.responses import Response, summary_of
from realmate.wire.webhook import InvalidEvent, InvalidJson, parse_event

HOURS = 24


Hours = Annotated[
    list[int],
    msgspec.Meta(
        min_length=HOURS,
        max_length=HOURS,
        description="Those of each of the last 24 hours, the oldest first. The last one is the hour that has begun.",
    ),
]


class SourceLimit(msgspec.Struct):
    """How many events it may send."""

    events_per_s: float
    burst: int


class AcceptedEvents(msgspec.Struct):
    """The events that were accepted: openings, messages and closes."""

    hour: Annotated[int, msgspec.Meta(description="Those of the hour that has begun.")]
    day: Annotated[int, msgspec.Meta(description="Those of the last 24 hours.")]
    hours: Hours


class RejectedEvents(msgspec.Struct):
    """The events that were rejected, and the messages that expired."""

    hour: Annotated[dict[str, int], msgspec.Meta(description="Those of the hour that has begun, by their codes.")]
    day: Annotated[dict[str, int], msgspec.Meta(description="Those of the last 24 hours, by their codes.")]
    hours: Hours


class SourceView(msgspec.Struct):
    """A source, without any secret."""

    name: str
    enabled: Annotated[bool, msgspec.Meta(description="Whether it is in the file of sources now.")]
    paused: bool
    signature: Annotated[str | None, msgspec.Meta(description="The scheme by which it signs its events.")]
    limit: SourceLimit | None
    window_s: Annotated[float, msgspec.Meta(description="The seconds of silence after which a group is answered.")]
    tolerance_s: Annotated[float, msgspec.Meta(description="The seconds for which a message waits.")]
    reply: Literal["none", "ids", "http"]
    reply_url: str | None
    retention_days: float | None
    last_event_at: Moment | None
    accepted: AcceptedEvents
    rejected: RejectedEvents


class SourceList(msgspec.Struct):
    """The sources, in the order of their names."""

    items: list[SourceView]


def list_sources(call: Call) -> Response:
    now_hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    since = now_hour - timedelta(hours=HOURS - 1)
    with call.session() as session:
        names = dict(session.execute(text("SELECT id, name FROM sources")).tuples().all())
        accepted = session.execute(
            text("SELECT source_id, hour, accepted, last_at FROM source_hours WHERE hour >= :since"), {"since": since}
        ).all()
        rejected = session.execute(
            text(
                "SELECT source_id, date_trunc('hour', at) AS hour, code, count(*) AS events FROM rejections"
                " WHERE at >= :since GROUP BY 1, 2, 3"
            ),
            {"since": since},
        ).all()
        last = session.execute(text("SELECT source_id, max(last_at) FROM source_hours GROUP BY source_id"))
        last_at = {names.get(source): at for source, at in last.all()}
    accepted_hours: defaultdict[str, list[int]] = defaultdict(lambda: [0] * HOURS)
    rejected_hours: defaultdict[str, list[Counter[str]]] = defaultdict(lambda: [Counter() for _ in range(HOURS)])
    for row in accepted:
        accepted_hours[names.get(row.source_id, "")][_place(row.hour, since)] += row.accepted
    for row in rejected:
        rejected_hours[names.get(row.source_id, "")][_place(row.hour, since)][row.code] += row.events
    shown = [
        _shown(call, name, last_at.get(name), accepted_hours[name], rejected_hours[name])
        for name in sorted({*call.lent.sources, *names.values()})
        if call.holder.may_see(name)
    ]
    return answered(SourceList(shown))


def _place(hour: datetime, since: datetime) -> int:
    """Return the number of an hour among the last 24. (A clock that is set back must not break the page.)"""
    return max(0, min(HOURS - 1, int((hour - since) / timedelta(hours=1))))


def _shown(
    call: Call, name: str, last_at: datetime | None, accepted: list[int], rejected: list[Counter[str]]
) -> SourceView:
    source = call.lent.sources.get(name)
    known = source or Source(name)
    settings = call.lent.settings
    rules = known.rules(default_rules(settings))
    retention_s = known.retention_s or settings.retention_s
    return SourceView(
        name,
        source is not None,
        known.paused,
        None if known.verifier is None else known.verifier.name,
        None if known.limit is None else SourceLimit(known.limit.events_per_s, known.limit.burst),
        rules.group_window.total_seconds(),
        rules.hold_tolerance.total_seconds(),
        "none" if not rules.replies else "ids" if known.responder is None else "http",
        None if known.responder is None else known.responder.url,
        None if retention_s is None else retention_s / DAY_S,
        last_at,
        AcceptedEvents(accepted[-1], sum(accepted), accepted),
        RejectedEvents(dict(rejected[-1]), dict(sum(rejected, Counter())), [each.total() for each in rejected]),
    )


class TriedEvent(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /admin/sources/{name}/verify: a request as it was, or would be, sent."""

    headers: dict[str, str] = {}
    body: str = ""


class Verified(msgspec.Struct, kw_only=True):
    """Whether the source would take it."""

    accepted: bool
    code: Annotated[
        str | msgspec.UnsetType, msgspec.Meta(description="The code of the problem, where it is not accepted.")
    ] = msgspec.UNSET
    detail: str


def verify(call: Call, name: str) -> Response:
    """Say whether the source would take this request, and else exactly why not. Nothing is kept of it."""
    tried = call.body(TriedEvent)
    source = call.lent.sources.get(name)
    if source is None or not call.holder.may_see(name):
        return NOT_FOUND
    rejected = _rejection_of(source, tried.body.encode(), {key.lower(): value for key, value in tried.headers.items()})
    if rejected is None:
        detail = "Its signature is right, and so is its body." if source.verifier else "Its body is right."
        return answered(Verified(accepted=True, detail=detail))
    code, detail = summary_of(rejected)
    return answered(Verified(accepted=False, code=code, detail=detail))


def _rejection_of(source: Source, body: bytes, headers: Mapping[str, Any]) -> Response | None:
    if source.max_body_bytes is not None and len(body) > source.max_body_bytes:
        return too_large(source.max_body_bytes)
    try:
        if source.verifier is not None:
            source.verifier.verify(body, headers)
        parse_event(body, request_id="")
    except SignatureRejected as rejected:
        return unproven(str(rejected))
    except (InvalidJson, InvalidEvent) as error:
        return rejection(error)
    return PAUSED if source.paused else None


_SOURCE = SourceView(
    "shop",
    enabled=True,
    paused=False,
    signature="standard-webhooks",
    limit=SourceLimit(50.0, 100),
    window_s=5.0,
    tolerance_s=6.0,
    reply="ids",
    reply_url=None,
    retention_days=90.0,
    last_event_at=datetime(2026, 11, 27, 14, 20, 5, tzinfo=UTC),
    accepted=AcceptedEvents(40, 40, [*[0] * (HOURS - 1), 40]),
    rejected=RejectedEvents({"expired": 1}, {"expired": 1}, [*[0] * (HOURS - 1), 1]),
)
_DETAIL = "No v1 signature in webhook-signature matches id, timestamp and body."
OPERATIONS = (
    Operation(
        "GET",
        "/admin/sources/",
        "list_sources",
        "List the sources, and how they fare",
        (Success(200, "The sources that the token may see.", SourceList, example=SourceList([_SOURCE])),),
        (),
        "The events are counted from the feed, a few seconds late.",
        scope="operate",
        tag="operations",
    ),
    Operation(
        "POST",
        "/admin/sources/{name}/verify",
        "verify_event",
        "Ask whether a source would take an event",
        (
            Success(
                200,
                "Whether it would, and else exactly why not.",
                Verified,
                example=Verified(accepted=False, code="signature_invalid", detail=_DETAIL),
            ),
        ),
        (NOT_FOUND,),
        "Nothing is kept of it.",
        (Parameter("name", {"type": "string"}, "The name of the source.", place="path"),),
        body=TriedEvent,
        body_examples={
            "a signed event": {
                "headers": {"webhook-id": "…", "webhook-timestamp": "1764253205", "webhook-signature": "v1,…"},
                "body": '{"type": "NEW_CONVERSATION", …}',
            }
        },
        scope="operate",
        tag="operations",
    ),
)
