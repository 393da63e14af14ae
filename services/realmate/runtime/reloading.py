"""Files of configuration that are followed while the process runs."""

from __future__ import annotations

from collections.abc import Callable, Sized
from pathlib import Path
from typing import Generic, TypeVar

import eventlet
import structlog
from prometheus_client import Gauge

from realmate.runtime.health import health
from realmate.runtime.loops import loops
from realmate.runtime.settings import SettingsError
from realmate.sources.configuration import ConfigurationError, ConfigurationFile

LOOK_INTERVAL_S = 1.0

BROKEN = {
    part: Gauge(
        f"realmate_{part}_file_broken",
        f"1 while {part.upper()}_FILE is wrong, and what it said before still holds",
        multiprocess_mode="livemax",
    )
    for part in ("sources", "tokens", "transport_keys")
}

log = structlog.get_logger(__name__)

T = TypeVar("T", bound=Sized)


class ReloadingFile(Generic[T]):
    """The content of a file that is reloaded when it changes.

    A wrong file changes nothing; log, metrics and readiness tell of it.
    """

    def __init__(self, part: str, read: Callable[[Path], ConfigurationFile[T]], path: Path) -> None:
        """`part` is the file's setting without `_FILE`. Raises SettingsError: nobody starts by guessing who may."""
        self._part = part
        try:
            self._file = read(path)
        except ConfigurationError as error:
            raise SettingsError(f"{part.upper()}_FILE: {error}") from None
        BROKEN[part].set(0)
        health.revise(part, self._file.revision)
        self._tell_remark()

    @property
    def content(self) -> T:
        return self._file.content

    def watch(self) -> None:
        """Never returns."""
        while True:
            loops.heartbeat()
            eventlet.sleep(LOOK_INTERVAL_S)
            self.reload()

    def reload(self) -> T:
        """Read the file again if it has changed; what it says."""
        if self._file.refresh():
            self._tell(self._file.error)
        return self._file.content

    def _tell(self, error: str | None) -> None:
        BROKEN[self._part].set(error is not None)
        if error is None:
            health.note(self._part, None)
            health.revise(self._part, self._file.revision)
            log.info("file read", file=self._part, entries=len(self._file.content))
            self._tell_remark()
        else:
            health.note(self._part, "their file is wrong; what it said before still holds")
            log.error("file not read: what it said before still holds", file=self._part, error=error)

    def _tell_remark(self) -> None:
        if self._file.remark is not None:
            log.warning(self._file.remark, file=self._part)
