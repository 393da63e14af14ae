"""The readers' side: GET of one conversation, many requests in one look at the database."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs

import msgspec
import structlog

from realmate.query.reads import Ambiguous, ConversationView, Wanted, read
from realmate.runtime.config import ServiceSettings
from realmate.runtime.database import Database, is_outage, patiently
from realmate.runtime.http import Request, http_batch, isolated
from realmate.runtime.readers import readers
from realmate.sources.file import is_name
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
        return isolated(self._show, requests)

    def _show(self, requests: Sequence[Request]) -> list[Response]:
        wanted = [_wanted(request) for request in requests]
        deadline = requests[0].arrived_at + self.settings.command_timeout_s
        try:
            found = self._read({each for each in wanted if not isinstance(each, Response)}, deadline)
        except Exception as error:
            if not is_outage(error):
                raise
            log.warning("cannot read", reason=str(error).partition("\n")[0], request_id=requests[0].request_id)
            cannot = unavailable("The conversations cannot be read now; ask again.")
            return [each if isinstance(each, Response) else cannot for each in wanted]
        return [each if isinstance(each, Response) else found.get(each, _NOT_FOUND) for each in wanted]

    def _read(self, wanted: set[Wanted], deadline: float) -> dict[Wanted, Response]:
        if not wanted:
            return {}
        views = patiently(lambda _attempt: read(self.db, wanted), deadline)
        return {each: _answer(view) for each, view in views.items()}


def _answer(found: ConversationView | Ambiguous) -> Response:
    if isinstance(found, Ambiguous):
        return _ambiguous(found.sources)
    return Response(200, msgspec.json.encode(found))


def _ambiguous(sources: Sequence[str]) -> Response:
    names = ", ".join(sources)
    detail = f"Several sources have a conversation of this id: {names}. Name one of them, as in ?source={sources[0]}."
    return problem(409, "ambiguous_source", detail, sources=sources)


def _wanted(request: Request) -> Wanted | Response:
    """What `/conversations/{id}/?source=…` asks for, or why there is no such thing for whoever asks."""
    reader = readers.admit(request, "read")
    if isinstance(reader, Response):
        return reader
    try:
        conversation_id = parse_uuid(request.param)
    except ValueError:
        return _NOT_FOUND
    source = parse_qs(request.query).get("source", [None])[-1] if request.query else None
    if source is None:
        return Wanted(conversation_id, reader.sources)
    if is_name(source) and (reader.sources is None or source in reader.sources):
        return Wanted(conversation_id, frozenset({source}))
    return _NOT_FOUND
