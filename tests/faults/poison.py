"""What somebody with the broker's password could put into it: rubbish in every field, forged events, forged verdicts.

`poison_redis` and `poison_rabbitmq` know how it gets there.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from realmate.domain.events import Verdict
from realmate.sources.model import DEFAULT
from realmate.wire.commands import (
    CloseCommand,
    Command,
    MessageCommand,
    OpenCommand,
    Origin,
    UnknownVersion,
    UnreadCommand,
    decode_commands,
    encode_commands,
    encode_verdicts,
)

REPLAYED_AFTER_S = 5.5
"""Longer than COMMAND_TIMEOUT_S: nobody waits for the genuine message any more when its altered copy comes."""

GARBAGE = (
    b"",
    b"x",
    b"-1",
    b"9" * 400,
    b"-" + b"9" * 400,
    b"1" + b"0" * 5000,  # more digits than Python turns into a number
    b"1e999",
    b"nan",
    "²٣".encode(),  # digits to some, no number to others
    b"\x00" * 1000,
    b"\xff\xfe",
    b"\xc1",  # the one byte that MessagePack never uses
    b"\x92\xa1",  # cut off
    b"\xdd\xff\xff\xff\xff",  # an array of 4,294,967,295 elements, none of which follows
    b"\x91" * 100_000,  # a nest
    b"a" * 300_000,
)


def forged_payloads() -> Iterator[bytes]:
    """Batches that no webhook sent; well-formed, and some of them with what no webhook lets through."""
    now, conversation = datetime.now(UTC), str(uuid.uuid4())
    for source in (DEFAULT, "shop", "nobody", "x" * 10_000, "\x00"):
        origin = Origin(source)
        yield encode_commands([OpenCommand("forged", str(uuid.uuid4()), now, origin)])
        yield encode_commands([MessageCommand("forged", conversation, now, str(uuid.uuid4()), "Olá", origin)])
    for strange in ("", "no uuid", "\x00", "9" * 400, "'; DROP TABLE messages; --"):
        yield encode_commands([OpenCommand("forged", strange, now)])
        yield encode_commands([MessageCommand("forged", conversation, now, strange, "\x00"), _close(strange)])
    yield encode_commands([])
    yield msgspec.msgpack.encode((999, []))


def _close(conversation: str) -> CloseCommand:
    return CloseCommand("forged", conversation, datetime.now(UTC))


def forged_reply_to(payload: bytes) -> bytes | None:
    """What its caller waits for, only untrue: everything was done. None: this is no batch of events."""
    try:
        commands = decode_commands(payload)
        return encode_verdicts([_promise(each) for each in commands if not isinstance(each, UnreadCommand)])
    except (msgspec.DecodeError, UnknownVersion, KeyError):
        return None


def _promise(command: Command) -> Verdict:
    kinds = {OpenCommand: Verdict.CREATED, MessageCommand: Verdict.ACCEPTED, CloseCommand: Verdict.CLOSED}
    return kinds[type(command)]


Value = TypeVar("Value")


def altered(genuine: Mapping[str, Value], garbage: Sequence[Value]) -> Iterator[dict[str, Value]]:
    """Copies of it, each with one field missing or one field rubbish."""
    for name in genuine:
        yield {other: value for other, value in genuine.items() if other != name}
        for value in garbage:
            yield {**genuine, name: value}
