"""The file of sources (SOURCES_FILE; docs/sources.md), by its schema."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec

from realmate.sources.configuration import (
    ConfigurationError,
    ConfigurationFile,
    UnusableSecret,
    convert,
    decoded,
)
from realmate.sources.model import DAY_S, DEFAULT, Source
from realmate.sources.responders import Responder
from realmate.sources.schema import HttpReply, Secret, Signing, SourceSettings
from realmate.sources.signing import (
    StandardWebhooks,
    Verifier,
    WeakSecret,
    check_guessable,
    cleaned,
)

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


def is_name(text: str) -> bool:
    """Whether a source can have this name."""
    return _NAME.fullmatch(text) is not None


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    sources: dict[str, Any] = {}
    revision: Annotated[str, msgspec.Meta(max_length=64)] | None = None


Sources = Mapping[str, Source]
"""The sources that are enabled, by name."""

_DEFAULT_CLOSED = (
    f"POST /webhook/ is closed: SOURCES_FILE names sources, and {DEFAULT!r} is not among those that are enabled."
    f" Add [sources.{DEFAULT}] to open it"
)

UNCONFIGURED: Sources = MappingProxyType({DEFAULT: Source(DEFAULT)})
"""Without a file, or with one that names no source, there is the default source, and anyone may send."""


def read_sources(path: Path | None) -> Sources:
    """Return the sources that the file names now, with this process's environment. Raises ConfigurationError."""
    return UNCONFIGURED if path is None else SourceFile(path, os.environ).content


def check_source(name: str, settings: Mapping[str, Any]) -> None:
    """Raise ConfigurationError unless services would take these settings. Their secrets are `value`s."""
    _Reading({}, _no_file).sources({"sources": {name: settings}})


def _no_file(name: str) -> bytes:
    raise ConfigurationError(f"no file can be named here: {name}")


class SourceFile(ConfigurationFile[Sources]):
    """The file of sources, with the secrets it names; its `content` are the enabled ones."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        """Read it. Raises ConfigurationError."""
        self._reading = _Reading(environment, lambda name: self.read(self.path.parent / name))
        super().__init__(path)

    def interpret(self, document: Any) -> Sources:
        sources, self.revision = self._reading.sources(document)
        self.remark = None if DEFAULT in sources else _DEFAULT_CLOSED
        return sources


class _Reading:
    """The reading of a document, with the secrets that it refers to."""

    def __init__(self, environment: Mapping[str, str], read: Callable[[str], bytes]) -> None:
        """`read` brings a file that the document names. Raises ConfigurationError."""
        self._environment = environment
        self._read = read

    def sources(self, document: Any) -> tuple[Sources, str | None]:
        """The enabled ones, and the document's revision. Raises ConfigurationError."""
        said = convert(document, _Document, "")
        sources: dict[str, Source | None] = {} if said.sources else {DEFAULT: Source(DEFAULT)}
        for name, settings in said.sources.items():
            place = f"sources.{name}"
            if not is_name(name):
                raise ConfigurationError(f"{place}: a name is 1 to 63 of a-z, 0-9, - and _, and starts with no - or _")
            sources[name] = self._source(name, place, convert(settings, SourceSettings, place))
        enabled = {name: source for name, source in sources.items() if source is not None}
        return MappingProxyType(enabled), said.revision

    def _source(self, name: str, place: str, settings: SourceSettings) -> Source | None:
        if not settings.enabled:
            return None
        signing = settings.signing
        verifier = None if signing is None else self._verifier(f"{place}.signing", signing)
        reply = settings.reply
        responder = self._responder(f"{place}.reply", reply) if isinstance(reply, HttpReply) else None
        limit = None if settings.limit is None else settings.limit.limit()
        retention_s = None if settings.retention is None else settings.retention.closed_days * DAY_S
        return Source(
            name,
            verifier,
            settings.max_body_bytes,
            limit,
            settings.own_rules(),
            settings.rejections.keep(),
            responder,
            retention_s,
            settings.paused,
        )

    def _verifier(self, place: str, signing: Signing) -> Verifier:
        return signing.verifier(self._secrets(place, signing.secrets, signing.key))

    def _responder(self, place: str, reply: HttpReply) -> Responder:
        return Responder(
            reply.url,
            StandardWebhooks(self._secrets(place, reply.secrets, StandardWebhooks.key)),
            reply.timeout_s,
            reply.retry_for_s,
            reply.concurrency,
            reply.fallback,
            reply.allow_private,
        )

    def _secrets(self, place: str, references: Sequence[Secret], key_of: Callable[[str], bytes]) -> list[str]:
        """Return the secrets, after checking that each is strong enough and none is repeated."""
        secrets: dict[bytes, str] = {}
        for number, reference in enumerate(references):
            here = f"{place}.secrets[{number}]"
            try:
                secret = cleaned(self._secret(here, reference))
                key = key_of(secret)
                check_guessable(key)
            except WeakSecret as error:
                raise UnusableSecret(f"{here}: the secret {error}") from None
            if key in secrets:
                raise UnusableSecret(f"{here}: the secret is secrets[{[*secrets].index(key)}] once more")
            secrets[key] = secret
        return [*secrets.values()]

    def _secret(self, place: str, reference: Secret) -> str:
        """Return the secret as it is written there."""
        if reference.file is not None:
            try:
                return decoded(self._read(reference.file), reference.file)
            except ConfigurationError as error:
                raise ConfigurationError(f"{place}: {error}") from None
        if reference.env is not None:
            if reference.env not in self._environment:
                raise ConfigurationError(f"{place}: the environment has no {reference.env}")
            return self._environment[reference.env]
        return reference.value or ""
