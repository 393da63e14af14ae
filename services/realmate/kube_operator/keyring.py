"""The secrets of a source that the operator makes itself, and how they change: pure.

A new key is accepted by all pods before any sender has it: it is made, published, and only when every pod has loaded it
does it become the one in the Secret that senders read. From then on the one before is accepted for the overlap.

    made -> (every pod accepts it) -> current -> (the next one is current) -> retiring -> (overlap) -> gone
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import msgspec

KEY_BYTES = 32


class Key(msgspec.Struct, frozen=True, omit_defaults=True):
    id: str
    """The id for people and for the status. It tells nothing of the secret."""
    secret: str
    made_at: datetime
    current_since: datetime | None = None
    retires_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Key({self.id})"


class Keyring(msgspec.Struct, frozen=True):
    """The newest key comes first. There is always one that is current."""

    keys: tuple[Key, ...]
    rotated_for: str = ""
    """The last rotation asked for by annotation: what it said."""

    @property
    def current(self) -> Key:
        return next(key for key in self.keys if key.current_since is not None and key.retires_at is None)


class Rotation(msgspec.Struct, frozen=True):
    every: timedelta | None = None
    """The interval; None: the key rotates only when somebody asks for it."""
    overlap: timedelta = timedelta(hours=24)


def make_key(now: datetime) -> Key:
    """Standard Webhooks' form, which is fit for every scheme."""
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    return Key(f"{now:%Y%m%d}-{secrets.token_hex(3)}", secret, now)


def next_keyring(  # noqa: PLR0913 (all that a key can depend on)
    ring: Keyring | None,
    rotation: Rotation,
    *,
    asked: str,
    accepted: Callable[[Key], bool],
    now: datetime,
    make: Callable[[datetime], Key] = make_key,
) -> Keyring:
    """The keyring as it should be now.

    `asked` is the annotation's text: any other than that of the last rotation asks for one. `accepted` tells whether
    every pod takes a key already.
    """
    if ring is None:
        return Keyring((msgspec.structs.replace(make(now), current_since=now),), asked)
    keys = [key for key in ring.keys if key.retires_at is None or key.retires_at > now]
    newest = keys[0]
    if newest.current_since is None:
        if not accepted(newest):
            return Keyring(tuple(keys), ring.rotated_for)
        return Keyring(_promoted(keys, rotation, now), ring.rotated_for)
    due_at = next_rotation(ring, rotation)
    if asked != ring.rotated_for or (due_at is not None and due_at <= now):
        keys.insert(0, make(now))
    return Keyring(tuple(keys), asked)


def next_rotation(ring: Keyring, rotation: Rotation) -> datetime | None:
    return None if rotation.every is None else ring.keys[0].made_at + rotation.every


def _promoted(keys: Sequence[Key], rotation: Rotation, now: datetime) -> tuple[Key, ...]:
    newest, *others = keys
    retires_at = now + rotation.overlap
    return (
        msgspec.structs.replace(newest, current_since=now),
        *(key if key.retires_at else msgspec.structs.replace(key, retires_at=retires_at) for key in others),
    )
