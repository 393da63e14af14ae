"""The wall clock of single processes, to be set while they run: Debian's libfaketime, preloaded.

Only what tells the hour is moved; CLOCK_MONOTONIC goes on, as it does when a host's clock is set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
PRELOADED = Path(__file__).with_name("preloaded")
"""What Python processes need beside the library."""
NOTICED_AFTER_S = 1.2
"""The library looks at its file once a second."""
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (libfaketime's choice)


class Clock:
    """One wall clock, for all processes that are started with its `environment`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._set(0)

    @property
    def environment(self) -> dict[str, str]:
        """Nothing where libfaketime is missing: the clock is then the host's."""
        if not LIBRARIES:
            return {}
        return {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "PYTHONPATH": str(PRELOADED),
        }

    @contextmanager
    def off_by(self, seconds: int) -> Iterator[None]:
        self._set(seconds)
        try:
            yield
        finally:
            self._set(0)

    def _set(self, seconds: int) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}")
        new.replace(self._file)


def why_clocks_cannot_be_set() -> str | None:
    return None if LIBRARIES else "libfaketime is missing: apt-get install libfaketime"


def tidy_shared_memory() -> None:
    """Remove what libfaketime leaves behind when its process is killed."""
    for pattern in ("faketime_shm_*", "sem.faketime_sem_*"):
        for file in SHARED_MEMORY.glob(pattern):
            pid = int(file.name.rpartition("_")[2])
            with suppress(FileNotFoundError):  # another worker tidies too
                if not psutil.pid_exists(pid) and file.stat().st_uid == os.geteuid():
                    file.unlink()
