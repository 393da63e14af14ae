"""The readers' side: GET of one conversation, many requests in one look at the database; and the feed of changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import msgspec
import structlog

from realmate.http_server import (
    NOT_YET,
    MemoryExhausted,
    Request,
    ResponseMemory,
    Streaming,
    http_batch,
    http_waiting,
    isolated,
)
from realmate.http_server.readers import READER_HEADERS, readers
from realmate.query import changes, lists, messages
from realmate.query.api import DOCUMENT
from realmate.query.entity_tags import HEADER as IF_NONE_MATCH
from realmate.query.entity_tags import is_known, not_modified
from realmate.query.parameters import InvalidQuery, Parameters, whole
from realmate.query.problems import NOT_FOUND, TOO_LARGE, ambiguous, cannot_read
from realmate.query.reads import MOST_MESSAGES, Ambiguous, Tagged, Unread, Wanted, read, read_in_portions, tags
from realmate.query.streams import Streams
from realmate.query.tail import Tail
from realmate.runtime.config import ServiceSettings
from realmate.runtime.database import Database, is_outage, patiently
from realmate.sources.names import is_name
from realmate.wire.ids import parse_uuid
from realmate.wire.responses import Response, unavailable

R = TypeVar("R")

log = structlog.get_logger(__name__)


class QueryService:
    name = "query"

    db = Database(read_only=True)
    settings = ServiceSettings()
    room = ResponseMemory()
    streams = Streams(Tail())

    @http_waiting("GET", "/changes/", headers=(*READER_HEADERS, *changes.HEADERS))
    def changes(self, request: Request) -> Response | Streaming:
        return self._read_for(request, partial(changes.answer, self.streams))

    def _read_for(self, request: Request, answer: Callable[..., R]) -> R | Response:
        """Return what `answer(db, room, settings, request, holder)` makes of a request; or else why it makes nothing of
        it: the token, the query, or an outage."""
        holder = readers.admit(request, "read")
        if isinstance(holder, Response):
            return holder
        try:
            return answer(self.db, self.room, self.settings, request, holder)
        except InvalidQuery as error:
            return error.response
        except MemoryExhausted as error:
            return unavailable(str(error))
        except Exception as error:
            if not is_outage(error):
                raise
            return cannot_read(error, request)

    @http_batch("GET", "/openapi.json")
    def describe(self, requests: Sequence[Request]) -> list[Response]:
        return [Response(200, DOCUMENT)] * len(requests)

    @http_batch("GET", "/conversations/", headers=(*READER_HEADERS, IF_NONE_MATCH))
    def list_conversations(self, requests: Sequence[Request]) -> list[Response]:
        return isolated(self._list_conversations, requests)

    def _list_conversations(self, requests: Sequence[Request]) -> list[Response]:
        return [self._read_for(request, lists.answer) for request in requests]

    @http_batch("GET", "/conversations/{id}/messages/", headers=READER_HEADERS)
    def list_messages(self, requests: Sequence[Request]) -> list[Response]:
        return isolated(self._list_messages, requests)

    def _list_messages(self, requests: Sequence[Request]) -> list[Response]:
        return [self._read_for(request, messages.answer) for request in requests]

    @http_batch("GET", "/conversations/{id}/", headers=(*READER_HEADERS, IF_NONE_MATCH))
    def show(self, requests: Sequence[Request]) -> list[Response]:
        return isolated(self._show, requests)

    def _show(self, requests: Sequence[Request]) -> list[Response]:
        wanted = [_wanted(request) for request in requests]
        deadline = requests[0].arrived_at + self.settings.command_timeout_s
        try:
            self._find_known(requests, wanted, deadline)
            found = self._read({each for each in wanted if not isinstance(each, Response)}, deadline)
        except MemoryExhausted as error:
            return [each if isinstance(each, Response) else unavailable(str(error)) for each in wanted]
        except Exception as error:
            if not is_outage(error):
                raise
            cannot = cannot_read(error, requests[0])
            return [each if isinstance(each, Response) else cannot for each in wanted]
        return [each if isinstance(each, Response) else found.get(each, NOT_FOUND) for each in wanted]

    def _find_known(self, requests: Sequence[Request], wanted: list[Wanted | Response], deadline: float) -> None:
        """Put a 304 in the place of what a reader has already."""
        asked = {
            number: each
            for number, each in enumerate(wanted)
            if not isinstance(each, Response) and IF_NONE_MATCH in requests[number].headers
        }
        if asked:
            current = patiently(lambda _attempt: tags(self.db, set(asked.values())), deadline)
            for number, each in asked.items():
                if each in current and is_known(requests[number], current[each]):
                    wanted[number] = not_modified(current[each])

    def _read(self, wanted: set[Wanted], deadline: float) -> dict[Wanted, Response]:
        """Answers as far as there is room for them in memory. The rest is NOT_YET, but one at least is answered.

        Those who want all messages, and those who want the last ones, are answered one after the other.
        """
        if not wanted:
            return {}
        later = {each for each in wanted if each.messages is not None}
        if later and len(later) < len(wanted):
            return self._read(wanted - later, deadline) | dict.fromkeys(later, NOT_YET)
        limit_bytes = self.settings.http_max_batch_bytes
        with self.room.of(limit_bytes, deadline):
            views = patiently(lambda _attempt: read(self.db, wanted, limit_bytes), deadline)
            answers = {each: _answer(view) for each, view in views.items() if not isinstance(view, Unread)}
        unread = {each: view for each, view in views.items() if isinstance(view, Unread)}
        if unread and len(unread) == len(wanted):
            each, view = unread.popitem()
            with self.room.of(view.bytes, deadline):
                answers[each] = self._read_alone(each, view.source)
        return answers | dict.fromkeys(unread, NOT_YET)

    def _read_alone(self, wanted: Wanted, source: str) -> Response:
        """The answer of a large conversation, encoded portion by portion."""
        body = bytearray()
        headers: tuple[tuple[str, str], ...] = ()
        for view, current in read_in_portions(self.db, wanted, source):
            headers = (("ETag", current),)
            if body and view.messages:
                body[-2:] = b"," if body[-3:] != b"[]}" else b""
            if not body:
                body += msgspec.json.encode(view)
            elif view.messages:
                body += msgspec.json.encode(view.messages)[1:] + b"}"
            if len(body) > self.settings.http_budget_bytes:
                return TOO_LARGE
        return Response(200, bytes(body), headers=headers) if body else NOT_FOUND


def _answer(found: Tagged | Ambiguous) -> Response:
    if isinstance(found, Ambiguous):
        return ambiguous(found.sources)
    return Response(200, msgspec.json.encode(found.view), headers=(("ETag", found.tag),))


def _wanted(request: Request) -> Wanted | Response:
    """Return what `/conversations/{id}/?source=…&messages=…` asks for, or the response where there is no such thing for
    this reader."""
    reader = readers.admit(request, "read")
    if isinstance(reader, Response):
        return reader
    try:
        conversation_id = parse_uuid(request.param)
    except ValueError:
        return NOT_FOUND
    try:
        source, messages = _asked(request.query) if request.query else (None, None)
    except InvalidQuery as error:
        return error.response
    if source is None:
        return Wanted(conversation_id, reader.sources, messages)
    if is_name(source) and (reader.sources is None or source in reader.sources):
        return Wanted(conversation_id, frozenset({source}), messages)
    return NOT_FOUND


def _asked(query: str) -> tuple[str | None, int | None]:
    """Return the values of `source` and `messages`. Other parameters mean nothing, as ever. Raises InvalidQuery."""
    parameters = Parameters(query, None)
    messages = parameters.one("messages", whole(0, MOST_MESSAGES), None)
    parameters.check()
    sources = [source for source in parameters.all("source") if source]
    return sources[-1] if sources else None, messages
