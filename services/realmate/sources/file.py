"""The file of sources (SOURCES_FILE; docs/sources.md), by its schema."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from realmate.sources.configuration import ConfigurationFile, convert
from realmate.sources.document import Document
from realmate.sources.endpoint_file import check_endpoints
from realmate.sources.model import DAY_S, DEFAULT, Source
from realmate.sources.names import check_name
from realmate.sources.responders import Responder
from realmate.sources.schema import HttpReply, Signing, SourceSettings
from realmate.sources.secret_references import SecretReader, no_file
from realmate.sources.signing import StandardWebhooks, Verifier

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
    _Reading({}, no_file).sources({"sources": {name: settings}})


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
        self._secrets = SecretReader(environment, read)

    def sources(self, document: Any) -> tuple[Sources, str | None]:
        """The enabled ones, and the document's revision. Raises ConfigurationError."""
        said = convert(document, Document, "")
        sources: dict[str, Source | None] = {} if said.sources else {DEFAULT: Source(DEFAULT)}
        for name, settings in said.sources.items():
            place = f"sources.{name}"
            check_name(place, name)
            sources[name] = self._source(name, place, convert(settings, SourceSettings, place))
        check_endpoints(said.endpoints)
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
        return signing.verifier(self._secrets.secrets(place, signing.secrets, signing.key))

    def _responder(self, place: str, reply: HttpReply) -> Responder:
        return Responder(
            reply.url,
            StandardWebhooks(self._secrets.secrets(place, reply.secrets, StandardWebhooks.key)),
            reply.timeout_s,
            reply.retry_for_s,
            reply.concurrency,
            reply.fallback,
            reply.allow_private,
        )
