"""The messages between webhook and conversations: batches of commands and lists of verdicts, as MessagePack.

Both carry `VERSION` first, so that during a rolling update an old process rejects what it does not understand instead
of guessing. Arrays instead of maps: a command is its content plus a hundred bytes. A field added at the end, with a
default, disturbs neither side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import ClassVar

import msgspec

from realmate.domain.events import CloseConversation, Event, NewConversation, NewMessage, Verdict
from realmate.domain.model import ConversationId, MessageId
from realmate.sources.model import DEFAULT
from realmate.wire.ids import are_canonical

VERSION = 2


class UnknownVersion(Exception):
    """The peer speaks another version of the protocol: a rolling update is under way, or half done."""


class Origin(msgspec.Struct, array_like=True, frozen=True):
    """The source of a command, and the idempotency key by which it is recognised."""

    source: str = DEFAULT
    key: str = ""
    """The idempotency key; empty where there is none."""
    digest: bytes = b""
    """The digest of the body that came with the key."""


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


class RejectedCommand(msgspec.Struct, array_like=True, tag=4, frozen=True):
    """A request that the intake rejected: to be kept, and to be known again by its key."""

    request_id: str
    code: str
    """The code of the response, as in `invalid_event`."""
    detail: str
    body: bytes
    origin: Origin = DEFAULT_ORIGIN

    @property
    def verdict(self) -> Verdict:
        """The verdict that it gets, which nobody has to decide."""
        return Verdict.REJECTED


class UnreadCommand(msgspec.Struct, frozen=True):
    """Stands where a command stood that cannot be read: of an unknown kind, or with an id that is no UUID."""

    reason: str
    request_id: ClassVar[str] = ""
    origin: ClassVar[Origin] = DEFAULT_ORIGIN
    verdict: ClassVar[Verdict] = Verdict.FAILED


EventCommand = OpenCommand | MessageCommand | CloseCommand
Command = EventCommand | RejectedCommand
Received = Command | UnreadCommand


VERDICTS = 1
"""The generation of verdicts that this intake understands. It grows by one when verdicts are added."""
_SAID_TO_OLDER = {
    Verdict.TOO_MANY_HELD: (1, Verdict.CONVERSATION_NOT_FOUND),
    Verdict.UNSTORABLE: (1, None),
    Verdict.FAILED: (1, None),
}
"""A verdict, the generation that brought it, and what an intake of the generation before is told instead. That must be
true as well and promise nothing. None: nothing is said of the whole batch, and sending it again is right."""


class _Envelope(msgspec.Struct, array_like=True):
    version: int
    body: msgspec.Raw
    verdicts: int = 0
    """The generation of verdicts that the sender of these commands understands."""


_encoder = msgspec.msgpack.Encoder()
_envelopes = msgspec.msgpack.Decoder(_Envelope)
_commands = msgspec.msgpack.Decoder(list[Command])
_command = msgspec.msgpack.Decoder(Command)
_raw_commands = msgspec.msgpack.Decoder(list[msgspec.Raw])
_verdicts = msgspec.msgpack.Decoder(list[Verdict] | None)


def encode_commands(commands: Sequence[Command]) -> bytes:
    return _encoder.encode((VERSION, commands, VERDICTS))


def decode_commands(payload: bytes) -> list[Received]:
    """Raise UnknownVersion, or msgspec.DecodeError for what no Realmate wrote.

    A command that cannot be read does not take along those beside it.
    """
    body = _body(payload)
    try:
        commands = _commands.decode(body)
    except msgspec.DecodeError:
        return [_read(raw) for raw in _raw_commands.decode(body)]
    if are_canonical(_ids(commands)):
        return [*commands]
    return [_checked(command) for command in commands]


def _read(raw: msgspec.Raw) -> Received:
    try:
        return _checked(_command.decode(raw))
    except msgspec.DecodeError as error:
        return UnreadCommand(str(error))


def _checked(command: Command) -> Received:
    """Only canonical ids can be compared as text, which is how they are found again."""
    return command if are_canonical(_ids([command])) else UnreadCommand("an id is not a UUID in its canonical form")


def _ids(commands: Iterable[Command]) -> list[str]:
    ids: list[str] = []
    for each in commands:
        if isinstance(each, MessageCommand):
            ids += (each.conversation_id, each.message_id)
        elif not isinstance(each, RejectedCommand):
            ids.append(each.conversation_id)
    return ids


def understood_verdicts(payload: bytes) -> int:
    """Return the generation of verdicts that the sender understands. Raises as `decode_commands` does."""
    return _envelopes.decode(payload).verdicts


def encode_verdicts(verdicts: Sequence[Verdict] | None, understood: int = VERDICTS) -> bytes:
    """Encode one verdict for each command, in order. None means that nothing was decided and sending again is right.

    `understood` is the generation of the intake that asked: during a rolling update it may be an older one.
    """
    if verdicts is not None and understood < VERDICTS:
        told = [_as_understood(verdict, understood) for verdict in verdicts]
        known = [verdict for verdict in told if verdict is not None]
        verdicts = known if len(known) == len(told) else None
    return _encoder.encode((VERSION, verdicts))


def _as_understood(verdict: Verdict, understood: int) -> Verdict | None:
    generation, instead = _SAID_TO_OLDER.get(verdict, (0, verdict))
    return instead if understood < generation else verdict


def decode_verdicts(payload: bytes, *, count: int | None = None) -> list[Verdict] | None:
    """Raise UnknownVersion, or msgspec.DecodeError for what no Realmate wrote: not `count` verdicts, for instance."""
    verdicts: list[Verdict] | None = _verdicts.decode(_body(payload))
    if verdicts is not None and count not in {None, len(verdicts)}:
        raise msgspec.DecodeError(f"{len(verdicts)} verdicts came for {count} commands")
    return verdicts


def _body(payload: bytes) -> msgspec.Raw:
    envelope = _envelopes.decode(payload)
    if envelope.version != VERSION:
        raise UnknownVersion(f"the peer speaks version {envelope.version}, this process {VERSION}")
    return envelope.body
