"""`/admin/replays/`: sends again what was rejected or expired, by the front door, as a job that can be stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from sqlalchemy import text

from realmate.admin.client import Server
from realmate.admin.rejections import Filter, count, find, mark_replayed
from realmate.admin.replay import Replay, ReplayAction, action_for
from realmate.console import jobs
from realmate.console.calls import (
    Audit,
    Call,
    InvalidBody,
    Listing,
    Moment,
    Storable,
    answered,
    named_uuid,
    paging,
    paging_parameters,
    record,
)
from realmate.console.jobs import Job, ShownJob
from realmate.sources.model import Source
from realmate.wire.openapi import Operation, Success
from realmate.wire.responses import Response

KIND = "replay"
LIMIT, MOST = 20, 100
Action = Annotated[str, msgspec.Meta(extra_json_schema={"enum": [each.name.lower() for each in ReplayAction]})]


class ReplayFilter(msgspec.Struct, forbid_unknown_fields=True):
    """The choice of rejections. What is empty or null chooses all."""

    source: Storable | None = None
    codes: list[Storable] = []
    since: datetime | None = None
    until: datetime | None = None
    conversation: str | None = None
    ids: list[int] | None = None


class ReplayRequest(ReplayFilter, forbid_unknown_fields=True):
    """The body of POST /admin/replays/."""

    again: Annotated[bool, msgspec.Meta(description="Whether those are sent, too, that a replay sent before.")] = False
    rate: Annotated[float, msgspec.Meta(ge=1, le=1000, description="The most events a second.")] = 50.0
    dry_run: Annotated[bool, msgspec.Meta(description="Whether to count only. Nothing is sent unless it is false.")] = (
        True
    )


class CountedRejections(msgspec.Struct):
    """The rejections of one code, and what a replay does with them."""

    code: str
    events: int
    action: Action


class ReplayCounts(msgspec.Struct):
    """What a replay would send."""

    counts: list[CountedRejections]
    to_send: int


class ReplayJob(ShownJob, kw_only=True):
    """A replay, and how far it is."""

    filter: ReplayFilter
    again: bool
    rate: float
    to_send: Annotated[int, msgspec.Meta(description="The events that were there to be sent when it began.")]
    sent: int
    answers: Annotated[dict[str, int], msgspec.Meta(description="How often each answer came, as in `202 accepted`.")]


class ReplaysPage(Listing[ReplayJob]):
    """One page of replays, the newest first."""


def create(call: Call) -> Response:
    """Count what would be sent; or begin to send it."""
    asked = call.body(ReplayRequest)
    chosen = _chosen(call, asked)
    with call.session() as session:
        counts = count(session.connection(), chosen)
        to_send = sum(number for code, number in counts.items() if action_for(code) is not ReplayAction.NOT_SENT)
        if asked.dry_run:
            told = [CountedRejections(code, number, action_for(code).name.lower()) for code, number in counts.items()]
            return answered(ReplayCounts(told, to_send))
        last = session.execute(text("SELECT coalesce(max(id), 0) FROM rejections")).scalar_one()
        request = {"filter": _told(asked), "again": asked.again, "rate": asked.rate}
        progress = {"to_send": to_send, "sent": 0, "answers": {}, "_after": 0, "_last": last}
        job, is_new = jobs.create(session, call, KIND, request, progress)
        if is_new:
            record(session, call, Audit("replay.start", job.id, asked.source, f"{to_send} to send"))
    return jobs.started(KIND, job)


def _chosen(call: Call, asked: ReplayRequest) -> Filter:
    """Return the filter, as far as the token may see. Raises InvalidBody."""
    if asked.source is None and call.holder.sources is not None:
        if len(call.holder.sources) > 1:
            raise InvalidBody("must name one of your sources: " + ", ".join(sorted(call.holder.sources)), "source")
        [asked.source] = call.holder.sources
    if asked.source is not None and not call.holder.may_see(asked.source):
        raise InvalidBody("is no source that this token may see", "source")
    return _filter(_told(asked), again=asked.again)


def _told(asked: ReplayFilter) -> dict[str, Any]:
    conversation = None if asked.conversation is None else named_uuid(asked.conversation, "conversation")
    return {
        "source": asked.source,
        "codes": asked.codes,
        "since": asked.since,
        "until": asked.until,
        "conversation": conversation,
        "ids": asked.ids,
    }


def _filter(told: Mapping[str, Any], *, again: bool) -> Filter:
    chosen = msgspec.convert(told, ReplayFilter)
    ids = None if chosen.ids is None else tuple(chosen.ids)
    codes = tuple(chosen.codes)
    return Filter(chosen.source, codes, chosen.since, chosen.until, chosen.conversation, not again, ids)


def list_replays(call: Call) -> Response:
    asked = call.parameters("limit", "cursor")
    part = paging(asked, LIMIT, MOST, tuple[Moment, UUID])
    asked.check()
    with call.session() as session:
        found = jobs.newest(session, KIND, part.one_more, part.after)
    newest = part.page(call, asked, found, lambda job: (job.created_at, job.id))
    return newest.answer([job.shown() for job in newest.rows if jobs.may_see(call, job)])


def work(
    open_session: Callable[[], Any],
    sources: Mapping[str, Source],
    webhook_url: str,
    job: Job,
    may_go_on: Callable[[], bool],
) -> bool:
    """Send what is left of a job. Return whether all is done. Raises SendError where nobody answers."""
    chosen = _filter(job.request["filter"], again=job.request["again"])
    progress = job.progress
    before = Counter(progress["answers"])
    sending = Replay(Server(webhook_url), sources, rate=job.request["rate"])
    while may_go_on():
        with open_session() as session:
            number = _next(session, chosen, progress["_after"], progress["_last"])
            rejection = None if number is None else find(session.connection(), number)
        if number is None:
            return True
        if rejection is not None and action_for(rejection.code) is not ReplayAction.NOT_SENT:
            status, code = sending.send(rejection)
            with open_session() as session:
                mark_replayed(session.connection(), number, status, code)
            progress["sent"] += 1
            progress["answers"] = dict(before + sending.answers)
        progress["_after"] = number
    return False


def _next(session: Any, chosen: Filter, after: int, last: int) -> int | None:
    where, values = chosen.where()
    statement = (
        "SELECT rejection.id FROM rejections AS rejection JOIN sources AS source ON source.id = source_id"
        f" WHERE {where} AND rejection.id > :after AND rejection.id <= :last ORDER BY rejection.id LIMIT 1"
    )
    found: int | None = session.execute(text(statement), values | {"after": after, "last": last}).scalar()
    return found


_JOB = ReplayJob(
    id="0b9d3a52-7c1f-4a4e-9d0e-2f6f6f1c8a11",
    state="running",
    by="ana",
    created_at=datetime(2026, 11, 27, 14, 20, 5, tzinfo=UTC),
    finished_at=None,
    error=None,
    filter=ReplayFilter("shop", ["expired"]),
    again=False,
    rate=20.0,
    to_send=12,
    sent=3,
    answers={"202 accepted": 3},
)
_SUCCESSES = (
    Success(
        200,
        "What would be sent (`dry_run`).",
        ReplayCounts,
        example=ReplayCounts([CountedRejections("expired", 12, "with_new_id")], 12),
    ),
    Success(202, "The replay has begun (`dry_run` is false).", ReplayJob, headers=("Location",), example=_JOB),
)
OPERATIONS = (
    Operation(
        "POST",
        "/admin/replays/",
        "replay",
        "Count what a replay would send, or begin it",
        _SUCCESSES,
        (),
        "Events go by the front door, as their senders' do. A token that may see several sources alone names one.",
        (jobs.IDEMPOTENCY_KEY,),
        body=ReplayRequest,
        body_examples={
            "count": {"source": "shop", "codes": ["expired"], "since": "2026-11-27T00:00:00Z"},
            "send": {"source": "shop", "codes": ["expired"], "dry_run": False, "rate": 20},
        },
        scope="operate",
        tag="operations",
    ),
    Operation(
        "GET",
        "/admin/replays/",
        "list_replays",
        "List replays",
        (Success(200, "The replays.", ReplaysPage, headers=("Link",), example=ReplaysPage([_JOB], None)),),
        (),
        "Replays are kept for 30 days after their end.",
        paging_parameters(LIMIT, MOST),
        scope="operate",
        tag="operations",
    ),
    *jobs.operations(KIND, "operate", ReplayJob, _JOB),
)
