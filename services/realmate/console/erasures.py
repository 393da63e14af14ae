"""`/admin/erasures/`: erases a conversation, or all of a source; and the history of what was erased."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from realmate.admin.erasures import Erasure, newest, number_of
from realmate.console import jobs
from realmate.console.calls import (
    Audit,
    Call,
    InvalidBody,
    Listing,
    Number,
    Storable,
    Uuid,
    named_uuid,
    paging,
    paging_parameters,
    record,
)
from realmate.console.jobs import Job, ShownJob
from realmate.conversations.erasing import Erased, erase_conversation, erase_source
from realmate.runtime.transaction import Transactions
from realmate.wire.openapi import Operation, Success
from realmate.wire.responses import Response

KIND = "erasure"
LIMIT, MOST = 50, 200


class ErasureRequest(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /admin/erasures/: one conversation, or a whole source, whose name is given twice then."""

    source: Storable
    conversation: str | None = None
    confirm: Annotated[str | None, msgspec.Meta(description="The source again, to erase all of it.")] = None


class ErasedRows(msgspec.Struct):
    """How much was erased."""

    conversations: int
    messages: int
    rejections: int


class ErasureJob(ShownJob, kw_only=True):
    """An erasure, and how far it is."""

    source: str
    conversation: Annotated[
        Uuid | msgspec.UnsetType, msgspec.Meta(description="It is absent where all of the source is erased.")
    ] = msgspec.UNSET
    erased: ErasedRows


class ErasuresPage(Listing[Erasure]):
    """One page of the history, the newest first."""


def create(call: Call) -> Response:
    asked = call.body(ErasureRequest)
    if asked.conversation is None and asked.confirm != asked.source:
        raise InvalidBody("must be the name of the source, to erase all of it", "confirm")
    request: dict[str, Any] = {"source": asked.source}
    if asked.conversation is not None:
        request["conversation"] = named_uuid(asked.conversation, "conversation")
    with call.session() as session:
        if number_of(session.connection(), asked.source) is None:
            raise InvalidBody("is no source that ever sent anything", "source")
        progress = {"erased": Erased()._asdict()}
        job, is_new = jobs.create(session, call, KIND, request, progress)
        if is_new:
            record(session, call, Audit("erasure.start", request.get("conversation", job.id), asked.source))
    return jobs.started(KIND, job)


def list_erasures(call: Call) -> Response:
    """Return the history: what was erased by retention, on the command line, or here; the newest first."""
    asked = call.parameters("limit", "cursor")
    part = paging(asked, LIMIT, MOST, tuple[Number])
    asked.check()
    with call.session() as session:
        rows = newest(session.connection(), part.one_more, part.after[0] if part.after else None)
    found = part.page(call, asked, rows, lambda row: (row.id,))
    return found.answer(found.rows)


def work(open_session: Callable[[], Any], transactions: Transactions, job: Job, may_go_on: Callable[[], bool]) -> bool:
    """Erase what is left of a job. Return whether all is done."""
    with open_session() as session:
        source_id = number_of(session.connection(), job.request["source"])
    if source_id is None:
        return True
    erased = Erased(**job.progress["erased"])
    if "conversation" in job.request:
        erased += erase_conversation(transactions, source_id, job.request["conversation"])
        job.progress["erased"] = erased._asdict()
        return True
    for portion in erase_source(transactions, source_id):
        erased += portion
        job.progress["erased"] = erased._asdict()
        if not may_go_on():
            return False
    return True


_BEGAN = datetime(2026, 11, 27, 14, 20, 5, tzinfo=UTC)
_JOB = ErasureJob(
    id="0b9d3a52-7c1f-4a4e-9d0e-2f6f6f1c8a11",
    state="running",
    by="ana",
    created_at=_BEGAN,
    finished_at=None,
    error=None,
    source="shop",
    conversation="6a41b347-8d80-4ce9-84ba-7af66f369f6a",
    erased=ErasedRows(0, 0, 0),
)
_HISTORY = ErasuresPage([Erasure(7, _BEGAN, _BEGAN, "shop", "conversation", 1, 5, 1)], None)
OPERATIONS = (
    Operation(
        "POST",
        "/admin/erasures/",
        "erase",
        "Erase a conversation, or all of a source",
        (Success(202, "The erasure has begun.", ErasureJob, headers=("Location",), example=_JOB),),
        (),
        "What is erased cannot be had again.",
        (jobs.IDEMPOTENCY_KEY,),
        body=ErasureRequest,
        body_examples={
            "one conversation": {"source": "shop", "conversation": "6a41b347-8d80-4ce9-84ba-7af66f369f6a"},
            "a whole source": {"source": "shop", "confirm": "shop"},
        },
        scope="admin",
        tag="operations",
    ),
    Operation(
        "GET",
        "/admin/erasures/",
        "list_erasures",
        "List what was erased",
        (Success(200, "The history.", ErasuresPage, headers=("Link",), example=_HISTORY),),
        (),
        "It has what retention erased, and what was erased on the command line or here.",
        paging_parameters(LIMIT, MOST),
        scope="admin",
        tag="operations",
    ),
    *jobs.operations(KIND, "admin", ErasureJob, _JOB),
)
