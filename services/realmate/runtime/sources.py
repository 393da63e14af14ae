"""The sources as services see them: `Sources()` injects those of the moment, and follows their file."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import eventlet
import structlog
from nameko.extensions import DependencyProvider
from prometheus_client import Gauge

from realmate.runtime.config import settings_of
from realmate.runtime.health import health
from realmate.runtime.settings import SettingsError
from realmate.sources.file import UNCONFIGURED, SourceFile, SourcesError
from realmate.sources.file import Sources as Named

LOOK_INTERVAL_S = 1.0
HEALTH_PART = "sources"

BROKEN = Gauge(
    "realmate_sources_file_broken",
    "1 while SOURCES_FILE is wrong, and what it said before still holds",
    multiprocess_mode="livemax",
)

log = structlog.get_logger(__name__)


class Sources(DependencyProvider):
    """Injects the enabled sources by name, the same for all of a worker's requests."""

    _file: SourceFile | None = None

    def setup(self) -> None:
        """Raises SettingsError: a process does not start by guessing who may send."""
        path = settings_of(self.container).sources_file
        if path is None:
            return
        try:
            self._file = SourceFile(path, os.environ)
        except SourcesError as error:
            raise SettingsError(f"SOURCES_FILE: {error}") from None
        BROKEN.set(0)

    def start(self) -> None:
        if self._file is not None:
            self.container.spawn_managed_thread(partial(self._follow, self._file), identifier="sources")

    def get_dependency(self, worker_ctx: Any) -> Named:  # noqa: ARG002 (Nameko's signature)
        return UNCONFIGURED if self._file is None else self._file.sources

    def _follow(self, file: SourceFile) -> None:
        while True:
            eventlet.sleep(LOOK_INTERVAL_S)
            if file.refresh():
                self._tell(file)

    def _tell(self, file: SourceFile) -> None:
        BROKEN.set(file.error is not None)
        if file.error is None:
            health.note(HEALTH_PART, None)
            log.info("sources read", sources=sorted(file.sources))
        else:
            health.note(HEALTH_PART, "their file is wrong; what it said before still holds")
            log.error("sources not read: what the file said before still holds", error=file.error)
