"""The sources as services see them: `Sources()` injects those of the moment, and follows their file."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from nameko.extensions import DependencyProvider

from realmate.runtime.config import settings_of
from realmate.runtime.loops import loops
from realmate.runtime.reloading import ReloadingFile
from realmate.sources.file import UNCONFIGURED, SourceFile
from realmate.sources.file import Sources as Named


class Sources(DependencyProvider):
    """Injects the enabled sources by name, the same for all of a worker's requests."""

    _file: ReloadingFile[Named] | None = None
    _watcher: Any = None

    def setup(self) -> None:
        """Raises SettingsError."""
        path = settings_of(self.container).sources_file
        if path is not None:
            self._file = ReloadingFile("sources", lambda path: SourceFile(path, os.environ), path)

    def start(self) -> None:
        if self._file is not None:
            self._watcher = loops.spawn("follow SOURCES_FILE", self._file.watch)

    def stop(self) -> None:
        if self._watcher is not None:
            self._watcher.kill()

    kill = stop

    def look(self) -> Named:
        """The sources as their file names them at this moment."""
        return UNCONFIGURED if self._file is None else self._file.reload()

    def get_dependency(self, worker_ctx: Any) -> Named:  # noqa: ARG002 (Nameko's signature)
        return UNCONFIGURED if self._file is None else self._file.content


class SourcesNow(DependencyProvider):
    """Injects a function that looks into the file at once: for who was told of a source that it does not know yet."""

    def get_dependency(self, worker_ctx: Any) -> Callable[[], Named]:  # noqa: ARG002 (Nameko's signature)
        [sources] = [each for each in self.container.dependencies if isinstance(each, Sources)]
        return sources.look
