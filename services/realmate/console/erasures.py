"""`/admin/erasures/`: erases a conversation, or all of a source; and the history of what was erased."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from realmate.admin.erasures import newest, number_of
from realmate.console import jobs
from realmate.console.calls import Audit, Call, InvalidBody, named_uuid, paging, record
from realmate.console.jobs import Job
from realmate.conversations.erasing import Erased, erase_conversation, erase_source
from realmate.runtime.transaction import Transactions
from realmate.wire.responses import Response

KIND = "erasure"
LIMIT, MOST = 50, 200


class Asked(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /admin/erasures/: one conversation, or a whole source, whose name is given twice then."""

    source: str
    conversation: str | None = None
    confirm: str | None = None


def create(call: Call) -> Response:
    asked = call.body(Asked)
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
    part = paging(asked, LIMIT, MOST, int)
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
