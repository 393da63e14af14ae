"""The readers' side: GET of one conversation, many requests in one look at the database."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog

from realmate.query.reads import read
from realmate.runtime.config import ServiceSettings
from realmate.runtime.database import Database, is_outage, patiently
from realmate.runtime.http import Request, http_batch
from realmate.wire.ids import parse_uuid
from realmate.wire.responses import Response, problem, unavailable

log = structlog.get_logger(__name__)

_NOT_FOUND = problem(404, "conversation_not_found", "There is no such conversation.")


class QueryService:
    name = "query"

    db = Database(read_only=True)
    settings = ServiceSettings()

    @http_batch("GET", "/conversations/{id}/")
    def show(self, requests: Sequence[Request]) -> list[Response]:
        ids = [_id(request) for request in requests]
        deadline = requests[0].arrived_at + self.settings.command_timeout_s
        try:
            found = self._read({wanted for wanted in ids if wanted is not None}, deadline)
        except Exception as error:
            if not is_outage(error):
                raise
            log.warning("cannot read", reason=str(error).partition("\n")[0], request_id=requests[0].request_id)
            return [unavailable("The conversations cannot be read now; ask again.")] * len(requests)
        return [found.get(wanted, _NOT_FOUND) if wanted else _NOT_FOUND for wanted in ids]

    def _read(self, ids: set[str], deadline: float) -> dict[str, Response]:
        if not ids:
            return {}
        views = patiently(lambda _attempt: read(self.db, ids), deadline)
        return {key: Response(200, msgspec.json.encode(view)) for key, view in views.items()}


def _id(request: Request) -> str | None:
    try:
        return parse_uuid(request.param)
    except ValueError:
        return None
