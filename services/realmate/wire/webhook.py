"""The webhook's JSON: a request's body in, a command or the reason against it out.

Two paths to the same result. The quick one is a typed msgspec decoder, which nearly every event takes. What it refuses
is examined field by field: that path knows the rarer textual forms (UUIDs in braces, ISO 8601 beyond RFC 3339) and
names every field that is wrong, not just the first.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec

from realmate.wire.commands import DEFAULT_ORIGIN, CloseCommand, EventCommand, MessageCommand, OpenCommand, Origin
from realmate.wire.ids import parse_uuid
from realmate.wire.responses import FieldError

MAX_CONTENT_CHARS = 65_536


class InvalidJson(ValueError):
    """The body is not JSON."""


class InvalidEvent(ValueError):
    """The body is JSON, but not one of the events."""

    def __init__(self, errors: tuple[FieldError, ...]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


# --- the quick path ---


class _Conversation(msgspec.Struct):
    id: str


class _Message(msgspec.Struct):
    id: str
    content: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_CONTENT_CHARS)]
    conversation_id: str


class _NewConversation(msgspec.Struct, tag="NEW_CONVERSATION"):
    timestamp: datetime
    data: _Conversation


class _NewMessage(msgspec.Struct, tag="NEW_MESSAGE"):
    timestamp: datetime
    data: _Message


class _CloseConversation(msgspec.Struct, tag="CLOSE_CONVERSATION"):
    timestamp: datetime
    data: _Conversation


_decoder = msgspec.json.Decoder(_NewConversation | _NewMessage | _CloseConversation)


def parse_event(body: bytes, request_id: str, origin: Origin = DEFAULT_ORIGIN) -> EventCommand:
    """The command that an event of this origin asks for. Raise InvalidJson or InvalidEvent."""
    try:
        body.decode()  # the decoder skips unknown fields unread: it would not notice that they are not UTF-8
        event = _decoder.decode(body)
        timestamp = _in_utc(event.timestamp)
        key = parse_uuid(event.data.id)
        if isinstance(event, _NewMessage):
            content = event.data.content
            if "\0" not in content:
                return MessageCommand(
                    request_id, parse_uuid(event.data.conversation_id), timestamp, key, content, origin
                )
            return _examine(body, request_id, origin)
        return (OpenCommand if isinstance(event, _NewConversation) else CloseCommand)(
            request_id, key, timestamp, origin
        )
    except (ValueError, OverflowError, RecursionError, msgspec.DecodeError):
        return _examine(body, request_id, origin)


def encode_event(command: EventCommand) -> bytes:
    """The body that asks for it."""
    event: _NewConversation | _NewMessage | _CloseConversation
    match command:
        case MessageCommand():
            data = _Message(command.message_id, command.content, command.conversation_id)
            event = _NewMessage(command.timestamp, data)
        case OpenCommand():
            event = _NewConversation(command.timestamp, _Conversation(command.conversation_id))
        case CloseCommand():
            event = _CloseConversation(command.timestamp, _Conversation(command.conversation_id))
    return msgspec.json.encode(event)


# --- the thorough path ---


def _uuid(value: Any) -> str:
    return parse_uuid(_text(value))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004 (every refusal of a value is a ValueError here)
    return value


def _content(value: Any) -> str:
    text = _text(value)
    if not text:
        raise ValueError("must not be empty")
    if len(text) > MAX_CONTENT_CHARS:
        raise ValueError(f"must have at most {MAX_CONTENT_CHARS} characters")
    if "\0" in text:
        raise ValueError("must not contain NUL")
    return text


def _timestamp(value: Any) -> datetime:
    text = _text(value)
    try:
        return _in_utc(_moment(text))
    except (ValueError, OverflowError):
        raise ValueError("must be an ISO 8601 timestamp") from None


def _moment(text: str) -> datetime:
    try:
        return msgspec.convert(text, datetime)  # as the quick path reads it; other forms are for the other
    except msgspec.ValidationError:
        return datetime.fromisoformat(text)


def _in_utc(timestamp: datetime) -> datetime:
    """Without an offset it is UTC. Raise OverflowError where the moment is before year 1 or after 9999 in UTC."""
    if timestamp.tzinfo is UTC:
        return timestamp
    return timestamp.replace(tzinfo=UTC) if timestamp.tzinfo is None else timestamp.astimezone(UTC)


_FIELDS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "NEW_CONVERSATION": {"id": _uuid},
    "NEW_MESSAGE": {"id": _uuid, "content": _content, "conversation_id": _uuid},
    "CLOSE_CONVERSATION": {"id": _uuid},
}


def _examine(body: bytes, request_id: str, origin: Origin) -> EventCommand:
    try:
        event = msgspec.json.decode(body)
    except RecursionError:
        raise InvalidJson("nested too deeply") from None
    except (ValueError, msgspec.DecodeError) as error:
        raise InvalidJson(str(error)) from None
    if not isinstance(event, dict):
        raise InvalidEvent((FieldError("", "must be a JSON object"),))
    kind = event.get("type")
    fields = _FIELDS.get(kind) if isinstance(kind, str) else None
    errors: list[FieldError] = []
    if fields is None:
        known = ", ".join(_FIELDS)
        errors.append(FieldError("type", f"must be one of {known}" if "type" in event else "is required"))
    timestamp = _read(event, "timestamp", _timestamp, "", errors)
    data = event.get("data")
    if not isinstance(data, dict):
        errors.append(FieldError("data", "must be an object" if "data" in event else "is required"))
        data, fields = {}, None
    values = {name: _read(data, name, convert, "data.", errors) for name, convert in (fields or {}).items()}
    if errors:
        raise InvalidEvent(tuple(errors))
    if kind == "NEW_MESSAGE":
        return MessageCommand(request_id, values["conversation_id"], timestamp, values["id"], values["content"], origin)
    command = OpenCommand if kind == "NEW_CONVERSATION" else CloseCommand
    return command(request_id, values["id"], timestamp, origin)


def _read(
    source: dict[str, Any], name: str, convert: Callable[[Any], Any], prefix: str, errors: list[FieldError]
) -> Any:
    if name not in source:
        errors.append(FieldError(prefix + name, "is required"))
        return None
    try:
        return convert(source[name])
    except ValueError as error:
        errors.append(FieldError(prefix + name, str(error)))
        return None
