"""The readers' side: GET of one conversation, many requests in one look at the database; and the feed of changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from urllib.parse import parse_qs

import msgspec
import structlog

from realmate.http_server import (
    NOT_YET,
    MemoryExhausted,
    Request,
    ResponseMemory,
    http_batch,
    http_waiting,
    isolated,
)
from realmate.http_server.readers import READER_HEADERS, readers
from realmate.http_server.response_memory import Reservations
from realmate.query import changes, messages
from realmate.query.problems import NOT_FOUND, ambiguous, cannot_read
from realmate.query.reads import Ambiguous, ConversationView, Unread, Wanted, read, read_in_portions
from realmate.query.tail import Tail
from realmate.runtime.config import ServiceSettings
from realmate.runtime.database import Database, is_outage, patiently
from realmate.runtime.settings import Settings
from realmate.runtime.transaction import Transactions
from realmate.sources.file import is_name
from realmate.wire.ids import parse_uuid
from realmate.wire.responses import Response, problem, unavailable

log = structlog.get_logger(__name__)

_TOO_LARGE = problem(
    507, "conversation_too_large", "This conversation is larger than HTTP_BUDGET_BYTES, and so cannot be shown."
)


Answer = Callable[[Transactions, Reservations, Settings, Request], Response]
"""Makes the answer to one request. It raises MemoryExhausted, and what an outage raises."""


class QueryService:
    name = "query"

    db = Database(read_only=True)
    settings = ServiceSettings()
    room = ResponseMemory()
    tail = Tail()

    @http_waiting("GET", "/changes/", headers=READER_HEADERS)
    def changes(self, request: Request) -> Response:
        return self._read_for(request, partial(changes.answer, self.tail))

    def _read_for(self, request: Request, answer: Answer) -> Response:
        try:
            return answer(self.db, self.room, self.settings, request)
        except MemoryExhausted as error:
            return unavailable(str(error))
        except Exception as error:
            if not is_outage(error):
                raise
            return cannot_read(error, request)

    @http_batch("GET", "/conversations/{id}/messages/", headers=READER_HEADERS)
    def list_messages(self, requests: Sequence[Request]) -> list[Response]:
        return isolated(self._list_messages, requests)

    def _list_messages(self, requests: Sequence[Request]) -> list[Response]:
        return [self._read_for(request, messages.answer) for request in requests]

    @http_batch("GET", "/conversations/{id}/", headers=READER_HEADERS)
    def show(self, requests: Sequence[Request]) -> list[Response]:
        return isolated(self._show, requests)

    def _show(self, requests: Sequence[Request]) -> list[Response]:
        wanted = [_wanted(request) for request in requests]
        deadline = requests[0].arrived_at + self.settings.command_timeout_s
        try:
            found = self._read({each for each in wanted if not isinstance(each, Response)}, deadline)
        except MemoryExhausted as error:
            return [each if isinstance(each, Response) else unavailable(str(error)) for each in wanted]
        except Exception as error:
            if not is_outage(error):
                raise
            cannot = cannot_read(error, requests[0])
            return [each if isinstance(each, Response) else cannot for each in wanted]
        return [each if isinstance(each, Response) else found.get(each, NOT_FOUND) for each in wanted]

    def _read(self, wanted: set[Wanted], deadline: float) -> dict[Wanted, Response]:
        """Answers as far as there is room for them in memory. The rest is NOT_YET, but one at least is answered."""
        if not wanted:
            return {}
        limit_bytes = self.settings.http_max_batch_bytes
        with self.room.of(limit_bytes, deadline):
            views = patiently(lambda _attempt: read(self.db, wanted, limit_bytes), deadline)
            answers = {each: _answer(view) for each, view in views.items() if not isinstance(view, Unread)}
        unread = {each: view for each, view in views.items() if isinstance(view, Unread)}
        if unread and len(unread) == len(wanted):
            each, view = unread.popitem()
            with self.room.of(view.bytes, deadline):
                answers[each] = self._read_alone(each.id, view.source)
        return answers | dict.fromkeys(unread, NOT_YET)

    def _read_alone(self, conversation_id: str, source: str) -> Response:
        """The answer of a large conversation, encoded portion by portion."""
        body = bytearray()
        for view in read_in_portions(self.db, conversation_id, source):
            if body and view.messages:
                body[-2:] = b"," if body[-3:] != b"[]}" else b""
            if not body:
                body += msgspec.json.encode(view)
            elif view.messages:
                body += msgspec.json.encode(view.messages)[1:] + b"}"
            if len(body) > self.settings.http_budget_bytes:
                return _TOO_LARGE
        return Response(200, bytes(body)) if body else NOT_FOUND


def _answer(found: ConversationView | Ambiguous) -> Response:
    if isinstance(found, Ambiguous):
        return ambiguous(found.sources)
    return Response(200, msgspec.json.encode(found))


def _wanted(request: Request) -> Wanted | Response:
    """Return what `/conversations/{id}/?source=…` asks for, or the response where there is no such thing for this
    reader."""
    reader = readers.admit(request, "read")
    if isinstance(reader, Response):
        return reader
    try:
        conversation_id = parse_uuid(request.param)
    except ValueError:
        return NOT_FOUND
    source = parse_qs(request.query).get("source", [None])[-1] if request.query else None
    if source is None:
        return Wanted(conversation_id, reader.sources)
    if is_name(source) and (reader.sources is None or source in reader.sources):
        return Wanted(conversation_id, frozenset({source}))
    return NOT_FOUND
