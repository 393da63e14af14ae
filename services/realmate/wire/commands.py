"""What crosses from webhook to conversations and back: batches of commands, lists of verdicts, as msgpack.

Both carry `VERSION` first, so that during a rolling update an old process refuses what it does not understand instead
of guessing. Arrays instead of maps: a command is its content plus a hundred bytes. A field added at the end, with a
default, disturbs neither side.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from realmate.domain.events import CloseConversation, Event, NewConversation, NewMessage, Verdict
from realmate.domain.model import ConversationId, MessageId
from realmate.sources.model import DEFAULT

VERSION = 2


class UnknownVersion(Exception):
    """The peer speaks another version of the protocol: a rolling update is under way, or half done."""


class Origin(msgspec.Struct, array_like=True, frozen=True):
    """Whose a command is, and how its sender knows it again."""

    source: str = DEFAULT
    key: str = ""
    """Its idempotency key; empty: none."""
    digest: bytes = b""
    """Of the body that came with the key."""


DEFAULT_ORIGIN = Origin()


class OpenCommand(msgspec.Struct, array_like=True, tag=1, frozen=True):
    request_id: str
    conversation_id: str
    timestamp: datetime
    origin: Origin = DEFAULT_ORIGIN

    def event(self, source_id: int) -> Event:
        """`source_id` is the number under which the origin's source is stored."""
        return NewConversation(ConversationId(self.conversation_id, source_id), self.timestamp)


class MessageCommand(msgspec.Struct, array_like=True, tag=2, frozen=True):
    request_id: str
    conversation_id: str
    timestamp: datetime
    message_id: str
    content: str
    origin: Origin = DEFAULT_ORIGIN

    def event(self, source_id: int) -> Event:
        """`source_id` is the number under which the origin's source is stored."""
        return NewMessage(
            ConversationId(self.conversation_id, source_id),
            self.timestamp,
            MessageId(self.message_id, source_id),
            self.content,
        )


class CloseCommand(msgspec.Struct, array_like=True, tag=3, frozen=True):
    request_id: str
    conversation_id: str
    timestamp: datetime
    origin: Origin = DEFAULT_ORIGIN

    def event(self, source_id: int) -> Event:
        """`source_id` is the number under which the origin's source is stored."""
        return CloseConversation(ConversationId(self.conversation_id, source_id), self.timestamp)


class RefusedCommand(msgspec.Struct, array_like=True, tag=4, frozen=True):
    """A request that the intake refused: to be kept, and to be known again by its key."""

    request_id: str
    code: str
    """Of the answer, as in `invalid_event`."""
    detail: str
    body: bytes
    origin: Origin = DEFAULT_ORIGIN


EventCommand = OpenCommand | MessageCommand | CloseCommand
Command = EventCommand | RefusedCommand


class _Envelope(msgspec.Struct, array_like=True):
    version: int
    body: msgspec.Raw


_encoder = msgspec.msgpack.Encoder()
_envelopes = msgspec.msgpack.Decoder(_Envelope)
_commands = msgspec.msgpack.Decoder(list[Command])
_verdicts = msgspec.msgpack.Decoder(list[Verdict] | None)


def encode_commands(commands: Sequence[Command]) -> bytes:
    return _encoder.encode((VERSION, commands))


def decode_commands(payload: bytes) -> list[Command]:
    """Raise UnknownVersion, or msgspec.DecodeError for what no Realmate wrote."""
    return _commands.decode(_body(payload))


def encode_verdicts(verdicts: Sequence[Verdict] | None) -> bytes:
    """One verdict a command, in order; None: nothing was decided, sending again is right."""
    return _encoder.encode((VERSION, verdicts))


def decode_verdicts(payload: bytes) -> list[Verdict] | None:
    """Raise UnknownVersion, or msgspec.DecodeError for what no Realmate wrote."""
    verdicts: list[Verdict] | None = _verdicts.decode(_body(payload))
    return verdicts


def _body(payload: bytes) -> msgspec.Raw:
    envelope = _envelopes.decode(payload)
    if envelope.version != VERSION:
        raise UnknownVersion(f"the peer speaks version {envelope.version}, this process {VERSION}")
    return envelope.body
