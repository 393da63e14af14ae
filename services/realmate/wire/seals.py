"""The seal on what webhook and conversations send each other: who has only the broker's password cannot make one.

It is a keyed BLAKE2b over the payload and over all that must not be changed: whether it is a batch or its reply, the
batch's id, where the reply is awaited, when it was sealed and how long its caller waits. So neither a batch nor a
verdict can be forged, a verdict cannot be given to another batch, and a reply cannot be led to somebody else.

A batch that was recorded and is put in again meets the verdicts that are stored with its id, for as long as they are
kept. After that the seal is too old. That takes clocks that agree to some minutes: it is the only use of the wall
clock between processes, and it decides nothing about events.
"""

from __future__ import annotations

import hmac
import time
from hashlib import blake2b
from typing import Literal, NamedTuple

import msgspec

from realmate.sources.transport_keys import TransportKeys

Direction = Literal["batch", "reply"]

VALID_S = 240
"""Shorter than verdicts are kept with their batch (300 s), so that no batch can be applied a second time."""
MAC_BYTES = 32
MAX_CHARS = 200

_encoder = msgspec.msgpack.Encoder()


class BrokenSeal(Exception):
    """The text is the reason, one of: unsigned, signature, expired."""


class Sealed(NamedTuple):
    """The content that a seal covers."""

    direction: Direction
    batch_id: str
    reply_to: str
    payload: bytes


def seal(keys: TransportKeys, sealed: Sealed, timeout_ms: int = 0) -> str:
    sealed_at_ms = int(time.time() * 1000)
    return f"1.{sealed_at_ms}.{timeout_ms}.{_mac(keys.signing, sealed, sealed_at_ms, timeout_ms).hex()}"


def timeout_of(keys: TransportKeys, sealed: Sealed, text: str) -> int | None:
    """Return how long the caller waits, in ms, as it was sealed; None for what is unsigned and may be.

    Raises BrokenSeal.
    """
    if not text:
        if keys.takes_unsigned:
            return None
        raise BrokenSeal("unsigned")
    sealed_at_ms, timeout_ms, mac = _parse(text)
    expected = (_mac(key, sealed, sealed_at_ms, timeout_ms) for key in keys.all)
    if not any(hmac.compare_digest(each, mac) for each in expected):
        raise BrokenSeal("signature")
    if abs(time.time() - sealed_at_ms / 1000) > VALID_S:
        raise BrokenSeal("expired")
    return timeout_ms


def _parse(text: str) -> tuple[int, int, bytes]:
    if len(text) > MAX_CHARS:
        raise BrokenSeal("signature")
    try:
        version, sealed_at_ms, timeout_ms, mac = text.split(".")
        if version == "1":
            return int(sealed_at_ms), int(timeout_ms), bytes.fromhex(mac)
    except ValueError:
        pass
    raise BrokenSeal("signature")


def _mac(key: bytes, sealed: Sealed, sealed_at_ms: int, timeout_ms: int) -> bytes:
    # MessagePack says where each part ends, so that no two meanings have the same bytes.
    about = (sealed.direction, sealed.batch_id, sealed.reply_to, str(sealed_at_ms), str(timeout_ms))
    mac = blake2b(_encoder.encode(about), key=key, digest_size=MAC_BYTES)
    mac.update(sealed.payload)
    return mac.digest()
