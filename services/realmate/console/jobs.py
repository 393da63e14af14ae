"""Jobs: what takes longer than a request. They are rows, so a replica that dies leaves its jobs to another one.

A replica leases a job for LEASE_S, and renews the lease while it works, with how far it came. Whoever is interrupted
has done nothing that the next one would do wrong: replays carry idempotency keys, and erasing goes on with the rest.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session

from realmate.console.calls import NOT_FOUND, Audit, Call, InvalidBody, Moment, Uuid, answered, record
from realmate.errors import UserError
from realmate.runtime.database import is_outage
from realmate.runtime.health import health
from realmate.sources.tokens import Scope
from realmate.wire.ids import parse_uuid
from realmate.wire.openapi import Operation, Parameter, Success
from realmate.wire.responses import Response

LEASE_S = 120.0
"""Longer than one event may take to be sent, with all its retries."""
SAVE_PAUSE_S = 1.0
MOST_KEY_CHARS = 255
IDEMPOTENCY_KEY = Parameter(
    "Idempotency-Key",
    {"type": "string", "maxLength": MOST_KEY_CHARS},
    "The same key of the same token, with the same body, gets the job that it made before.",
    place="header",
)
RETRY_S = 5.0
"""After so long a job is tried again that could not go on, since nobody answers."""
log = structlog.get_logger(__name__)

_COLUMNS = "id, kind, state, created_by, created_at, finished_at, request, progress, error"


class Job(msgspec.Struct):
    id: str
    kind: str
    state: str
    by: str
    """The name of the token that asked for it."""
    created_at: datetime
    finished_at: datetime | None
    request: dict[str, Any]
    progress: dict[str, Any]
    error: str | None

    def shown(self) -> dict[str, Any]:
        """Return the job as the API shows it: its progress is a part of it."""
        told: dict[str, Any] = msgspec.structs.asdict(self)
        request, progress = told.pop("request"), told.pop("progress")
        del told["kind"]
        told |= request | {name: value for name, value in progress.items() if not name.startswith("_")}
        return told

    @property
    def source(self) -> str | None:
        """The only source that it is about, if it is about one."""
        source: str | None = self.request.get("filter", self.request).get("source")
        return source


class ShownJob(msgspec.Struct, kw_only=True):
    """The members that `Job.shown` returns of a job of any kind."""

    id: Uuid
    state: Literal["running", "done", "failed", "cancelled"]
    by: Annotated[str, msgspec.Meta(description="The name of the token that asked for it.")]
    created_at: Moment
    finished_at: Moment | None
    error: Annotated[str | None, msgspec.Meta(description="Why it failed, or why it waits.")]


Work = Callable[[Job, Callable[[], bool]], bool]
"""Does a job, and changes its `progress` meanwhile. It asks again and again whether it may go on, and returns whether
all is done. Raises UserError where it cannot go on now."""


def create(
    session: Session, call: Call, kind: str, request: Mapping[str, Any], progress: Mapping[str, Any]
) -> tuple[Job, bool]:
    """Return a new job, and True; or the one that this token made with the same idempotency key, and False.

    Raises InvalidBody, also where that one is another job than what is asked for now.
    """
    key = call.request.headers.get(IDEMPOTENCY_KEY.name)
    if key is not None and len(key) > MOST_KEY_CHARS:
        raise InvalidBody(f"has more than {MOST_KEY_CHARS} characters", IDEMPOTENCY_KEY.name)
    by = call.holder.name
    row = session.execute(
        text(
            "INSERT INTO jobs (id, kind, created_by, request, progress, idempotency_key)"
            " VALUES (:id, :kind, :by, CAST(:request AS jsonb), CAST(:progress AS jsonb), :key)"
            f" ON CONFLICT (created_by, idempotency_key) DO NOTHING RETURNING {_COLUMNS}"
        ),
        {"id": str(uuid.uuid4()), "kind": kind, "by": by, "key": key, **_encoded(request=request, progress=progress)},
    ).first()
    if row is not None:
        return _job(row), True
    statement = text(f"SELECT {_COLUMNS} FROM jobs WHERE created_by = :by AND idempotency_key = :key")
    job = _job(session.execute(statement, {"by": by, "key": key}).one())
    if (job.kind, job.request) != (kind, msgspec.to_builtins(request)):
        raise InvalidBody("came with another request before", IDEMPOTENCY_KEY.name)
    return job, False


def find(session: Session, kind: str, job_id: str) -> Job | None:
    statement = text(f"SELECT {_COLUMNS} FROM jobs WHERE id = CAST(:id AS uuid) AND kind = :kind")
    row = session.execute(statement, {"id": job_id, "kind": kind}).first()
    return None if row is None else _job(row)


def newest(session: Session, kind: str, limit: int, after: Sequence[Any] | None) -> list[Job]:
    """Return the newest jobs, the newest first, behind a moment and an id."""
    at, job_id = after or (None, None)
    rows = session.execute(
        text(
            f"SELECT {_COLUMNS} FROM jobs WHERE kind = :kind AND (CAST(:at AS timestamptz) IS NULL"
            " OR (created_at, id) < (CAST(:at AS timestamptz), CAST(:id AS uuid)))"
            " ORDER BY created_at DESC, id DESC LIMIT :limit"
        ),
        {"kind": kind, "at": at, "id": job_id and str(job_id), "limit": limit},
    )
    return [_job(row) for row in rows]


def show(kind: str, call: Call, job_id: str) -> Response:
    """Answer GET of one job."""
    with call.session() as session:
        job = _of(kind, call, session, job_id)
    return NOT_FOUND if job is None else answered(job.shown())


def stop(kind: str, call: Call, job_id: str) -> Response:
    """Answer DELETE: stop it, after what is under way. What was done stays done."""
    with call.session() as session:
        job = _of(kind, call, session, job_id)
        if job is None:
            return NOT_FOUND
        cancelled = cancel(session, job)
        record(session, call, Audit(f"{kind}.cancel", job.id, job.source, cancelled.state))
    return answered(cancelled.shown())


def _of(kind: str, call: Call, session: Session, job_id: str) -> Job | None:
    """Return the job, if there is one that this token may see."""
    try:
        job = find(session, kind, parse_uuid(job_id))
    except ValueError:
        return None
    return job if job is not None and may_see(call, job) else None


def may_see(call: Call, job: Job) -> bool:
    return call.holder.sources is None or (job.source is not None and call.holder.may_see(job.source))


def started(kind: str, job: Job) -> Response:
    """Answer the POST that made a job."""
    return answered(job.shown(), 202, (("Location", f"/admin/{kind}s/{job.id}/"),))


def cancel(session: Session, job: Job) -> Job:
    """Stop a job that runs."""
    row = session.execute(
        text(
            "UPDATE jobs SET state = 'cancelled', finished_at = clock_timestamp()"
            f" WHERE id = CAST(:id AS uuid) AND state = 'running' RETURNING {_COLUMNS}"
        ),
        {"id": job.id},
    ).first()
    return job if row is None else _job(row)


def lease(session: Session) -> Job | None:
    """Return a job that nobody works on, and keep it from the others for LEASE_S."""
    row = session.execute(
        text(
            "UPDATE jobs SET leased_until = clock_timestamp() + make_interval(secs => :lease) WHERE id = ("
            " SELECT id FROM jobs WHERE state = 'running' AND leased_until < clock_timestamp()"
            f" ORDER BY leased_until LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING {_COLUMNS}"
        ),
        {"lease": LEASE_S},
    ).first()
    return None if row is None else _job(row)


def save(session: Session, job: Job, *, lease_s: float, state: str = "running", error: str | None = None) -> bool:
    """Write down how far a job came, and keep it from others for so long. Return whether it is to go on.

    What was cancelled meanwhile stays so.
    """
    now_it_is = session.execute(
        text(
            "UPDATE jobs SET progress = CAST(:progress AS jsonb), error = :error,"
            " leased_until = clock_timestamp() + make_interval(secs => :lease),"
            " finished_at = CASE WHEN state <> 'running' THEN finished_at"
            " WHEN :state <> 'running' THEN clock_timestamp() END,"
            " state = CASE WHEN state = 'running' THEN :state ELSE state END WHERE id = CAST(:id AS uuid)"
            " RETURNING state"
        ),
        {"id": job.id, "state": state, "error": error, "lease": lease_s, **_encoded(progress=job.progress)},
    ).scalar()
    return now_it_is == "running"


class Worker:
    """Does the jobs of one process."""

    def __init__(self, open_session: Callable[[], Any], works: Mapping[str, Work]) -> None:
        self._open_session = open_session
        self._works = works

    def run(self, job: Job) -> None:
        """Do a leased job until it is done, cancelled, or the process drains."""
        saved_at = time.monotonic()

        def may_go_on() -> bool:
            nonlocal saved_at
            if health.draining:
                return False
            if time.monotonic() - saved_at < SAVE_PAUSE_S:
                return True
            saved_at = time.monotonic()
            return self._save(job, lease_s=LEASE_S)

        try:
            is_done = self._works[job.kind](job, may_go_on)
        except UserError as error:
            self._save(job, lease_s=RETRY_S, error=str(error))
        except Exception as error:
            if is_outage(error):
                raise
            log.exception("a job failed", job=job.id)
            self._save(job, lease_s=0, state="failed", error="It failed; the log of the console says why.")
        else:
            self._save(job, lease_s=0, state="done" if is_done else "running")

    def _save(self, job: Job, **outcome: Any) -> bool:
        with self._open_session() as session:
            return save(session, job, **outcome)

    def lease(self) -> Job | None:
        with self._open_session() as session:
            return lease(session)


def _encoded(**values: Mapping[str, Any]) -> dict[str, str]:
    return {name: msgspec.json.encode(value).decode() for name, value in values.items()}


def _job(row: Any) -> Job:
    return Job(
        str(row.id),
        row.kind,
        row.state,
        row.created_by,
        row.created_at,
        row.finished_at,
        row.request,
        row.progress,
        row.error,
    )


def operations(kind: str, scope: Scope, shown: type[ShownJob], example: ShownJob) -> tuple[Operation, Operation]:
    """Describe `show` and `stop`."""
    path, parameters = (
        f"/admin/{kind}s/{{job_id}}/",
        (Parameter("job_id", {"type": "string"}, "A UUID.", place="path"),),
    )
    running, stopped = (Success(200, each, shown, example=example) for each in ("The job.", "The job, which stops."))
    return (
        Operation(
            *("GET", path, f"show_{kind}", f"Show how far {_an(kind)} is", (running,), (NOT_FOUND,), "", parameters),
            scope=scope,
            tag="operations",
        ),
        Operation(
            *("DELETE", path, f"stop_{kind}", f"Stop {_an(kind)}", (stopped,), (NOT_FOUND,)),
            "It stops after what is under way. What was done stays done.",
            parameters,
            scope=scope,
            tag="operations",
        ),
    )


def _an(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"
