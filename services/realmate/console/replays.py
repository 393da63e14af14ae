"""`/admin/replays/`: sends again what was rejected or expired, by the front door, as a job that can be stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from sqlalchemy import text

from realmate.admin.client import Server
from realmate.admin.rejections import Filter, count, find, mark_replayed
from realmate.admin.replay import Replay, ReplayAction, action_for
from realmate.console import jobs
from realmate.console.calls import Audit, Call, InvalidBody, answered, named_uuid, paging, record
from realmate.console.jobs import Job
from realmate.sources.model import Source
from realmate.wire.responses import Response

KIND = "replay"
LIMIT, MOST = 20, 100


class Chosen(msgspec.Struct, forbid_unknown_fields=True):
    """The choice of rejections. What is empty or null chooses all."""

    source: str | None = None
    codes: list[str] = []
    since: datetime | None = None
    until: datetime | None = None
    conversation: str | None = None
    ids: list[int] | None = None


class Asked(Chosen, forbid_unknown_fields=True):
    """The body of POST /admin/replays/."""

    again: bool = False
    """Also those that were replayed already."""
    rate: Annotated[float, msgspec.Meta(ge=1, le=1000)] = 50.0
    """Events a second, at most."""
    dry_run: bool = True
    """Only count."""


def create(call: Call) -> Response:
    """Count what would be sent; or begin to send it."""
    asked = call.body(Asked)
    chosen = _chosen(call, asked)
    with call.session() as session:
        counts = count(session.connection(), chosen)
        to_send = sum(number for code, number in counts.items() if action_for(code) is not ReplayAction.NOT_SENT)
        if asked.dry_run:
            told = [
                {"code": code, "events": number, "action": action_for(code).name.lower()}
                for code, number in counts.items()
            ]
            return answered({"counts": told, "to_send": to_send})
        last = session.execute(text("SELECT coalesce(max(id), 0) FROM rejections")).scalar_one()
        request = {"filter": _told(asked), "again": asked.again, "rate": asked.rate}
        progress = {"to_send": to_send, "sent": 0, "answers": {}, "_after": 0, "_last": last}
        job, is_new = jobs.create(session, call, KIND, request, progress)
        if is_new:
            record(session, call, Audit("replay.start", job.id, asked.source, f"{to_send} to send"))
    return jobs.started(KIND, job)


def _chosen(call: Call, asked: Asked) -> Filter:
    """Return the filter, as far as the token may see. Raises InvalidBody."""
    if asked.source is None and call.holder.sources is not None:
        if len(call.holder.sources) > 1:
            raise InvalidBody("must name one of your sources: " + ", ".join(sorted(call.holder.sources)), "source")
        [asked.source] = call.holder.sources
    if asked.source is not None and not call.holder.may_see(asked.source):
        raise InvalidBody("is no source that this token may see", "source")
    return _filter(_told(asked), again=asked.again)


def _told(asked: Chosen) -> dict[str, Any]:
    conversation = asked.conversation and named_uuid(asked.conversation, "conversation")
    return {
        "source": asked.source,
        "codes": asked.codes,
        "since": asked.since,
        "until": asked.until,
        "conversation": conversation,
        "ids": asked.ids,
    }


def _filter(told: Mapping[str, Any], *, again: bool) -> Filter:
    chosen = msgspec.convert(told, Chosen)
    ids = None if chosen.ids is None else tuple(chosen.ids)
    codes = tuple(chosen.codes)
    return Filter(chosen.source, codes, chosen.since, chosen.until, chosen.conversation, not again, ids)


def list_replays(call: Call) -> Response:
    asked = call.parameters("limit", "cursor")
    part = paging(asked, LIMIT, MOST, str, str)
    asked.check()
    with call.session() as session:
        found = jobs.newest(session, KIND, part.one_more, part.after)
    newest = part.page(call, asked, found, lambda job: (job.created_at.astimezone(UTC).isoformat(), job.id))
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
