"""The keys with which webhook and conversations sign what they send each other: a file with one key on each line.

The first key signs, and all of them verify. So a key is rotated in three steps, each by a change of the file while all
processes run: write the new key below the old one; move it to the top; remove the old one.

A line with the one word `unsigned` lets in what is not signed, too. It is there for the time in which some processes do
not have the file yet, and protects nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from realmate.sources.configuration import ConfigurationError, ConfigurationFile

UNSIGNED = "unsigned"
LEAST_CHARS = 32


class TransportKeys:
    """The keys of the file, each reduced to the 64 bytes that BLAKE2b takes."""

    def __init__(self, keys: tuple[bytes, ...], *, takes_unsigned: bool) -> None:
        self.signing = keys[0]
        self.all = keys
        self.takes_unsigned = takes_unsigned

    def __len__(self) -> int:
        return len(self.all)


class TransportKeysFile(ConfigurationFile[TransportKeys]):
    def _load(self) -> TransportKeys:
        self._seen = {}
        try:
            lines = self.read(self.path).decode("utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise ConfigurationError(f"{self.path} is not UTF-8") from None
        keys = tuple(_keys(lines))
        if not keys:
            raise ConfigurationError(
                f"{self.path} has no key in it; one is a line of at least {LEAST_CHARS} characters"
            )
        takes_unsigned = UNSIGNED in (line.strip() for line in lines)
        self.remark = f"batches that are not signed are taken: the file has the line `{UNSIGNED}`"
        if not takes_unsigned:
            self.remark = None
        return TransportKeys(keys, takes_unsigned=takes_unsigned)


def _keys(lines: list[str]) -> Iterator[bytes]:
    for number, line in enumerate(lines, start=1):
        key = line.strip()
        if not key or key == UNSIGNED:
            continue
        if len(key) < LEAST_CHARS:
            raise ConfigurationError(f"line {number}: a key has at least {LEAST_CHARS} characters, this has {len(key)}")
        yield blake2b(key.encode()).digest()
