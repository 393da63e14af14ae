"""The webhook's JSON: a request's body in, a command or the reasons against it out.

The body's syntax is checked as a whole, and only the fields that an event has are decoded: all at once where each has
its type, else each on its own, so that every wrong one can be named. The same functions convert them in both cases.
Fields that nobody asked for are never decoded, whatever is in them.
Where a name comes twice in an object, the last one counts, as in JavaScript and Python (RFC 8259, 4 leaves it open).
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any

import msgspec

from realmate.wire.commands import DEFAULT_ORIGIN, CloseCommand, EventCommand, MessageCommand, OpenCommand, Origin
from realmate.wire.ids import parse_uuid
from realmate.wire.moments import parse_moment
from realmate.wire.responses import FieldError

MAX_CONTENT_CHARS = 65_536

_NEW_CONVERSATION, _NEW_MESSAGE, _CLOSE_CONVERSATION = "NEW_CONVERSATION", "NEW_MESSAGE", "CLOSE_CONVERSATION"
_TYPES: dict[str, type[EventCommand]] = {
    _NEW_CONVERSATION: OpenCommand,
    _NEW_MESSAGE: MessageCommand,
    _CLOSE_CONVERSATION: CloseCommand,
}


class InvalidJson(ValueError):
    """The body is not JSON."""


class InvalidEvent(ValueError):
    """The body is JSON, but not one of the events."""

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


_ABSENT = msgspec.Raw()


class _UsualData(msgspec.Struct, gc=False):
    id: str
    content: str = ""
    conversation_id: str = ""


class _UsualEvent(msgspec.Struct, gc=False):
    type: str
    timestamp: str
    data: _UsualData


class _Event(msgspec.Struct, gc=False):
    type: msgspec.Raw = _ABSENT
    timestamp: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT


class _Data(msgspec.Struct, gc=False):
    id: msgspec.Raw = _ABSENT
    content: msgspec.Raw = _ABSENT
    conversation_id: msgspec.Raw = _ABSENT


_decode_usual = msgspec.json.Decoder(_UsualEvent).decode
_decode_event = msgspec.json.Decoder(_Event).decode
_decode_data = msgspec.json.Decoder(_Data).decode
_decode_string = msgspec.json.Decoder(str).decode
_decode_nothing = msgspec.json.Decoder(msgspec.Raw).decode


def parse_event(body: bytes, request_id: str, origin: Origin = DEFAULT_ORIGIN) -> EventCommand:
    """The command that an event of this origin asks for. Raise InvalidJson or InvalidEvent."""
    try:
        body.decode()  # msgspec does not look whether what it skips is UTF-8
        event = _decode_usual(body)
        data = event.data
        kind: Any = _type(event.type)
        timestamp, key = parse_moment(event.timestamp), parse_uuid(data.id)
        if kind is MessageCommand:
            content, conversation_id = _content(data.content), parse_uuid(data.conversation_id)
            return MessageCommand(request_id, conversation_id, timestamp, key, content, origin)
        command: EventCommand = kind(request_id, key, timestamp, origin)
    except (ValueError, msgspec.DecodeError, RecursionError):
        return examine(body, request_id, origin)
    return command


def examine(body: bytes, request_id: str, origin: Origin = DEFAULT_ORIGIN) -> EventCommand:
    """Parse like `parse_event`, field by field. It costs three times as much and finds every error."""
    event = _event(body)
    errors: list[FieldError] = []
    kind = _read(event.type, "type", _type, errors)
    timestamp = _read(event.timestamp, "timestamp", parse_moment, errors)
    data = _data(event.data, errors)
    if kind is None or data is None:
        raise InvalidEvent(tuple(errors))
    key = _read(data.id, "data.id", parse_uuid, errors)
    if kind is MessageCommand:
        content = _read(data.content, "data.content", _content, errors)
        conversation_id = _read(data.conversation_id, "data.conversation_id", parse_uuid, errors)
        if not errors:
            return MessageCommand(request_id, conversation_id, timestamp, key, content, origin)
    if errors:
        raise InvalidEvent(tuple(errors))
    command: EventCommand = kind(request_id, key, timestamp, origin)
    return command


def encode_event(command: EventCommand) -> bytes:
    """The body that asks for it."""
    data = {"id": command.conversation_id}
    kind = _NEW_CONVERSATION if isinstance(command, OpenCommand) else _CLOSE_CONVERSATION
    if isinstance(command, MessageCommand):
        kind = _NEW_MESSAGE
        data = {"id": command.message_id, "content": command.content, "conversation_id": command.conversation_id}
    return msgspec.json.encode({"type": kind, "timestamp": command.timestamp, "data": data})


def named_type(body: bytes) -> str | None:
    """The type that the body names, known or not. Raise InvalidJson, or InvalidEvent where it is no object."""
    named = _event(body).type
    try:
        return _decode_string(named)
    except msgspec.DecodeError:
        return None


def _event(body: bytes) -> _Event:
    """Return the event with its fields, which are not decoded yet."""
    body = body.removeprefix(codecs.BOM_UTF8)  # RFC 8259, 8.1 allows to skip it
    try:
        body.decode()  # msgspec does not look whether what it skips is UTF-8
        return _decode_event(body)
    except msgspec.ValidationError:
        _check_syntax(body)
        raise InvalidEvent((FieldError("", "must be a JSON object"),)) from None
    except UnicodeDecodeError as error:
        raise InvalidJson(_not_utf_8(body, error)) from None
    except msgspec.DecodeError as error:
        raise InvalidJson(str(error)) from None
    except RecursionError:
        raise InvalidJson("it is nested too deeply") from None


def _check_syntax(body: bytes) -> None:
    """Raise InvalidJson. (A decoder for objects stops at the first byte of what is none.)"""
    try:
        _decode_nothing(body)
    except msgspec.DecodeError as error:
        raise InvalidJson(str(error)) from None
    except RecursionError:
        raise InvalidJson("it is nested too deeply") from None


def _not_utf_8(body: bytes, error: UnicodeDecodeError) -> str:
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "it is in UTF-16, and must be in UTF-8"
    return f"it is not UTF-8 (byte {error.start})"


def _data(raw: msgspec.Raw, errors: list[FieldError]) -> _Data | None:
    if raw is _ABSENT:
        errors.append(FieldError("data", "is required"))
        return None
    try:
        return _decode_data(raw)
    except msgspec.ValidationError:
        errors.append(FieldError("data", "must be an object"))
        return None


def _read(raw: msgspec.Raw, name: str, convert: Callable[[str], Any], errors: list[FieldError]) -> Any:
    if raw is _ABSENT:
        errors.append(FieldError(name, "is required"))
        return None
    try:
        return convert(_decode_string(raw))
    except msgspec.ValidationError:
        errors.append(FieldError(name, "must be a string"))
    except ValueError as error:
        errors.append(FieldError(name, str(error)))
    return None


def _type(text: str) -> type[EventCommand]:
    try:
        return _TYPES[text]
    except KeyError:
        raise ValueError(f"must be one of {', '.join(_TYPES)}") from None


def _content(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    if len(text) > MAX_CONTENT_CHARS:
        raise ValueError(f"must have at most {MAX_CONTENT_CHARS} characters")
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text
