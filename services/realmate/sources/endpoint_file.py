"""The endpoints in the file of sources (SOURCES_FILE; docs/endpoints.md).

Every process that reads the file checks what it says about them. Only the process that sends to them needs their
secrets, and reads those.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from realmate.sources.configuration import ConfigurationFile, convert
from realmate.sources.document import Document
from realmate.sources.endpoint_schema import HOUR_S, EndpointSettings
from realmate.sources.endpoints import Endpoint
from realmate.sources.names import check_name
from realmate.sources.secret_references import SecretReader, no_file
from realmate.sources.signing import StandardWebhooks

Endpoints = Mapping[str, Endpoint]
"""The endpoints by name."""

NO_ENDPOINTS: Endpoints = MappingProxyType({})


NamedSettings = Mapping[str, EndpointSettings]
"""What the file says about each endpoint, by name: its secrets are references, of which none is read."""


def check_endpoints(said: Mapping[str, Any]) -> dict[str, EndpointSettings]:
    """Return what the file says about each endpoint. Raises ConfigurationError."""
    found: dict[str, EndpointSettings] = {}
    for name, settings in said.items():
        place = f"endpoints.{name}"
        check_name(place, name)
        found[name] = convert(settings, EndpointSettings, place)
    return found


def check_endpoint(name: str, settings: Mapping[str, Any]) -> None:
    """Raise ConfigurationError unless deliveries would take these settings. Their secrets are `value`s."""
    checked = check_endpoints({name: settings})[name]
    SecretReader({}, no_file).secrets(f"endpoints.{name}", checked.secrets, StandardWebhooks.key)


def read_endpoints(path: Path | None, *, allow_private: bool = True) -> Endpoints:
    """Return the endpoints that the file names now, with this process's environment. Raises ConfigurationError.

    `allow_private` is ENDPOINTS_ALLOW_PRIVATE.
    """
    named = NO_ENDPOINTS if path is None else EndpointFile(path, os.environ).content
    return named if allow_private else public_only(named)


def public_only(named: Endpoints) -> Endpoints:
    """Return the endpoints with `allow_private` taken away from each."""
    return MappingProxyType({name: replace(each, allow_private=False) for name, each in named.items()})


class EndpointSettingsFile(ConfigurationFile[NamedSettings]):
    """The file of sources, of which this reads what it says about endpoints, and no secret."""

    def interpret(self, document: Any) -> NamedSettings:
        return MappingProxyType(check_endpoints(convert(document, Document, "").endpoints))


class EndpointFile(ConfigurationFile[Endpoints]):
    """The file of sources, of which this reads the endpoints, with their secrets."""

    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        """Read it. Raises ConfigurationError."""
        self._secrets = SecretReader(environment, lambda name: self.read(self.path.parent / name))
        super().__init__(path)

    def interpret(self, document: Any) -> Endpoints:
        said = convert(document, Document, "")
        self.revision = said.revision
        settings = check_endpoints(said.endpoints)
        return MappingProxyType({name: self._endpoint(name, each) for name, each in settings.items()})

    def _endpoint(self, name: str, settings: EndpointSettings) -> Endpoint:
        secrets = self._secrets.secrets(f"endpoints.{name}", settings.secrets, StandardWebhooks.key)
        return Endpoint(
            name,
            settings.url,
            StandardWebhooks(secrets),
            None if settings.events is None else frozenset(settings.events),
            None if settings.sources is None else frozenset(settings.sources),
            settings.schedule_s,
            settings.timeout_s,
            settings.concurrency,
            settings.limit,
            settings.pause_after_h * HOUR_S,
            settings.allow_private,
        )
