"""The endpoints as services see them, as their file has them at the moment.

`Endpoints()` is for the service `deliveries`, with their secrets. `EndpointSettings()` is for others, without.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from nameko.extensions import DependencyProvider

from realmate.runtime.config import settings_of
from realmate.runtime.loops import loops
from realmate.runtime.reloading import ReloadingFile
from realmate.runtime.settings import SettingsError
from realmate.sources.configuration import ConfigurationError
from realmate.sources.endpoint_file import (
    NO_ENDPOINTS,
    EndpointFile,
    EndpointSettingsFile,
    NamedSettings,
    public_only,
)
from realmate.sources.endpoint_file import Endpoints as Named


class Endpoints(DependencyProvider):
    """Injects the endpoints by name, as the file has them at this moment."""

    _file: ReloadingFile[Named] | None = None
    _watcher: Any = None

    def setup(self) -> None:
        """Raises SettingsError."""
        settings = settings_of(self.container)
        self._allow_private = settings.endpoints_allow_private
        if settings.sources_file is not None:
            self._file = ReloadingFile("sources", lambda path: EndpointFile(path, os.environ), settings.sources_file)

    def start(self) -> None:
        if self._file is not None:
            self._watcher = loops.spawn("follow the endpoints in SOURCES_FILE", self._file.watch)

    def stop(self) -> None:
        if self._watcher is not None:
            self._watcher.kill()

    kill = stop

    def get_dependency(self, worker_ctx: Any) -> Endpoints:  # noqa: ARG002 (Nameko's signature)
        return self

    def now(self) -> Named:
        """Return the endpoints of this moment. A long run asks again and again."""
        named = NO_ENDPOINTS if self._file is None else self._file.content
        return named if self._allow_private else public_only(named)


class EndpointSettings(DependencyProvider):
    """Injects a function that returns what the file says about each endpoint. It reads the file where that changed.

    While the file is wrong, what it said before holds. (`Sources`, beside which this stands, tells of that.)
    """

    _file: EndpointSettingsFile | None = None

    def setup(self) -> None:
        """Raises SettingsError."""
        path = settings_of(self.container).sources_file
        if path is not None:
            try:
                self._file = EndpointSettingsFile(path)
            except ConfigurationError as error:
                raise SettingsError(f"SOURCES_FILE: {error}") from None

    def get_dependency(self, worker_ctx: Any) -> Callable[[], NamedSettings]:  # noqa: ARG002 (Nameko's signature)
        return self._now

    def _now(self) -> NamedSettings:
        if self._file is None:
            return {}
        self._file.refresh()
        return self._file.content
