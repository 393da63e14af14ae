"""The endpoints as the service `deliveries` sees them: `Endpoints()` injects those of the moment, and follows their
file."""

from __future__ import annotations

import os
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from nameko.extensions import DependencyProvider

from realmate.runtime.config import settings_of
from realmate.runtime.loops import loops
from realmate.runtime.reloading import ReloadingFile
from realmate.sources.endpoint_file import NO_ENDPOINTS, EndpointFile
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
        if self._allow_private:
            return named
        return MappingProxyType({name: replace(each, allow_private=False) for name, each in named.items()})
