"""The file of sources (SOURCES_FILE; docs/sources.md), by its schema."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from math import ceil
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec

from realmate.sources.configuration import (
    ConfigurationError,
    ConfigurationFile,
    UnusableSecret,
    convert,
    decoded,
)
from realmate.sources.limits import MAX_EVENTS_PER_S, MAX_WINDOW_S, MIN_EVENTS_PER_S, RateLimit
from realmate.sources.model import DAY_S, DEFAULT, DEFAULT_KEEP, Keep, Source
from realmate.sources.responders import Responder
from realmate.sources.signing import (
    MAX_TOLERANCE_S,
    HubSignature,
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


# --- its schema ---


class _Secret(msgspec.Struct, forbid_unknown_fields=True):
    """A reference to a secret: exactly one field is set. A `file` is relative to the folder of the file of sources."""

    value: str | None = None
    file: str | None = None
    env: str | None = None

    def __post_init__(self) -> None:
        if sum(each is not None for each in (self.value, self.file, self.env)) != 1:
            raise ValueError("must have one of value, file and env")

    def __repr__(self) -> str:
        return "_Secret(…)"


class _Signing(msgspec.Struct, forbid_unknown_fields=True, tag_field="scheme"):
    secrets: Annotated[list[_Secret], msgspec.Meta(min_length=1)]

    def key(self, secret: str) -> bytes:
        """Return the key that the secret stands for. Raises WeakSecret."""
        raise NotImplementedError

    def verifier(self, secrets: Sequence[str]) -> Verifier:
        """Raises WeakSecret."""
        raise NotImplementedError


class _StandardWebhooks(_Signing, tag="standard-webhooks"):
    tolerance_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_TOLERANCE_S)] = MAX_TOLERANCE_S

    def key(self, secret: str) -> bytes:
        return StandardWebhooks.key(secret)

    def verifier(self, secrets: Sequence[str]) -> Verifier:
        return StandardWebhooks(secrets, tolerance_s=self.tolerance_s)


class _HubSignature(_Signing, tag="x-hub-signature-256"):
    def key(self, secret: str) -> bytes:
        return HubSignature.key(secret)

    def verifier(self, secrets: Sequence[str]) -> Verifier:
        return HubSignature(secrets)


class _Limit(msgspec.Struct, forbid_unknown_fields=True):
    events_per_s: Annotated[float, msgspec.Meta(ge=MIN_EVENTS_PER_S, le=MAX_EVENTS_PER_S)]
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000_000)] | None = None

    def __post_init__(self) -> None:
        if self.limit().window_s > MAX_WINDOW_S:
            raise ValueError(
                f"burst / events_per_s must be at most {MAX_WINDOW_S:g} seconds: so long a burst comes back"
            )

    def limit(self) -> RateLimit:
        return RateLimit(self.events_per_s, self.burst or ceil(self.events_per_s))


class _Grouping(msgspec.Struct, forbid_unknown_fields=True):
    window_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] | None = None
    max_wait_s: Annotated[float, msgspec.Meta(gt=0, le=86400)] | None = None
    max_messages: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None


class _Hold(msgspec.Struct, forbid_unknown_fields=True):
    tolerance_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] | None = None
    max_messages: Annotated[int, msgspec.Meta(ge=1, le=100_000)] | None = None
    max_bytes: Annotated[int, msgspec.Meta(ge=262_144, le=1_073_741_824)] | None = None
    total_messages: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] | None = None
    total_bytes: Annotated[int, msgspec.Meta(ge=262_144, le=1_099_511_627_776)] | None = None


class _IdsReply(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="ids"):
    pass


class _NoReply(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="none"):
    pass


class _HttpReply(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="http"):
    url: str
    secrets: Annotated[list[_Secret], msgspec.Meta(min_length=1)]
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 5.0
    retry_for_s: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 60.0
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=256)] = 8
    fallback: Annotated[str, msgspec.Meta(min_length=1, max_length=65_536)] | None = None
    allow_private: bool = False

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"https", "http"} or not parts.hostname or parts.username is not None:
            raise ValueError("url must be https://host/path")
        if parts.scheme == "http" and not self.allow_private:
            raise ValueError("url must be https; http is for private networks (allow_private = true)")


class _Rejections(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    max_count: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = DEFAULT_KEEP.max_count
    max_age_days: Annotated[float, msgspec.Meta(gt=0, le=3650)] = DEFAULT_KEEP.max_age_s / DAY_S

    def keep(self) -> Keep:
        return Keep(self.max_count, self.max_age_days * DAY_S)


class _Retention(msgspec.Struct, forbid_unknown_fields=True):
    closed_days: Annotated[float, msgspec.Meta(gt=0, le=36500)]


class _Source(msgspec.Struct, forbid_unknown_fields=True):
    enabled: bool = True
    paused: bool = False
    signing: _StandardWebhooks | _HubSignature | None = None
    max_body_bytes: Annotated[int, msgspec.Meta(ge=1)] | None = None
    limit: _Limit | None = None
    grouping: _Grouping | None = None
    hold: _Hold | None = None
    reply: _IdsReply | _NoReply | _HttpReply | None = None
    rejections: _Rejections = _Rejections()
    retention: _Retention | None = None

    def own_rules(self) -> dict[str, Any]:
        """The fields of Rules that are given here."""
        given: dict[str, Any] = {}
        if self.grouping is not None:
            given["group_window"] = _duration(self.grouping.window_s)
            given["group_max_wait"] = _duration(self.grouping.max_wait_s)
            given["group_max_messages"] = self.grouping.max_messages
        if self.hold is not None:
            given["hold_tolerance"] = _duration(self.hold.tolerance_s)
            given["hold_max_messages"] = self.hold.max_messages
            given["hold_max_bytes"] = self.hold.max_bytes
            given["hold_total_messages"] = self.hold.total_messages
            given["hold_total_bytes"] = self.hold.total_bytes
        if self.reply is not None:
            given["replies"] = not isinstance(self.reply, _NoReply)
        return {name: value for name, value in given.items() if value is not None}


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    sources: dict[str, Any] = {}
    revision: Annotated[str, msgspec.Meta(max_length=64)] | None = None


# --- reading ---

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
            sources[name] = self._source(name, place, convert(settings, _Source, place))
        enabled = {name: source for name, source in sources.items() if source is not None}
        return MappingProxyType(enabled), said.revision

    def _source(self, name: str, place: str, settings: _Source) -> Source | None:
        if not settings.enabled:
            return None
        signing = settings.signing
        verifier = None if signing is None else self._verifier(f"{place}.signing", signing)
        reply = settings.reply
        responder = self._responder(f"{place}.reply", reply) if isinstance(reply, _HttpReply) else None
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

    def _verifier(self, place: str, signing: _Signing) -> Verifier:
        return signing.verifier(self._secrets(place, signing.secrets, signing.key))

    def _responder(self, place: str, reply: _HttpReply) -> Responder:
        return Responder(
            reply.url,
            StandardWebhooks(self._secrets(place, reply.secrets, StandardWebhooks.key)),
            reply.timeout_s,
            reply.retry_for_s,
            reply.concurrency,
            reply.fallback,
            reply.allow_private,
        )

    def _secrets(self, place: str, references: Sequence[_Secret], key_of: Callable[[str], bytes]) -> list[str]:
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

    def _secret(self, place: str, reference: _Secret) -> str:
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
