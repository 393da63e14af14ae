"""A file of configuration, TOML or (`.json`) JSON, with the files it names: read, checked, and read again on changes.

What is wrong is said with its place, `sources.shop.signing.secrets[1]`, and never with a secret's value.
"""

from __future__ import annotations

import codecs
import json
import tomllib
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from realmate.errors import UserError

T = TypeVar("T")


class ConfigurationError(UserError):
    """The file cannot be used; the message says what is wrong where, for a person."""


class UnusableSecret(ConfigurationError):
    """A secret in the file is missing, too weak, or there twice."""


class ConfigurationFile(Generic[T]):
    """One file, with the content of its last correct version."""

    def __init__(self, path: Path) -> None:
        """Read it. Raises ConfigurationError."""
        self.path = path
        self._seen: dict[Path, bytes | str] = {}
        self.error: str | None = None
        """What is wrong with the file now; None where nothing is."""
        self.revision: str | None = None
        """The revision that the file gives itself, by which others can tell what a process has read."""
        self.remark: str | None = None
        """A warning about the content, for whoever runs the process."""
        self.content = self._load()

    def refresh(self) -> bool:
        """Read it again if it, or a file it names, has changed; whether it had. What is wrong is in `error` then."""
        if all(_content(path) == seen for path, seen in self._seen.items()):
            return False
        try:
            self.content = self._load()
        except ConfigurationError as error:
            self.error = str(error)
        else:
            self.error = None
        return True

    def interpret(self, document: Any) -> T:
        """Return what the document means. Raises ConfigurationError."""
        raise NotImplementedError

    def read(self, path: Path) -> bytes:
        """The bytes of the file, or of one it names; remembered, so that `refresh` can tell whether they changed."""
        content = self._seen[path] = _content(path)
        if isinstance(content, str):
            raise ConfigurationError(f"cannot read {path}: {content}")
        return content

    def _load(self) -> T:
        self._seen = {}
        return self.interpret(_parse(self.path, self.read(self.path)))


def convert(value: Any, kind: type[T], place: str) -> T:
    """`value` by the schema of `kind`; msgspec's own place, `$.signing`, is put behind ours."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, within = str(error).partition(" - at `$")
        where = (place + within.rstrip("`")).removeprefix(".")
        raise ConfigurationError(f"{where}: {message}" if where else message) from None


def decoded(content: bytes, name: str) -> str:
    """The text of a file, without a byte order mark. Raises ConfigurationError, which calls the file by the name."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ConfigurationError(f"{name} is in UTF-16; save it in UTF-8")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{name} is not UTF-8 (byte {error.start}); save it in UTF-8") from None


def _content(path: Path) -> bytes | str:
    """The file's bytes, or why there are none."""
    try:
        return path.read_bytes()
    except OSError as error:
        return error.strerror or type(error).__name__


def _parse(path: Path, content: bytes) -> Any:
    text = decoded(content, str(path))
    is_json = path.suffix == ".json"
    try:
        return _json(text) if is_json else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path} is not {'JSON' if is_json else 'TOML'}: {error}") from None


def _json(text: str) -> Any:
    """Parse JSON as strictly as TOML: a repeated name is an error, and so is NaN. Raises ValueError."""
    return json.loads(text, object_pairs_hook=_once_each, parse_constant=_no_constant)


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice!r} comes twice in one object")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
