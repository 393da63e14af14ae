"""A small disk that can be full: a tmpfs, shrunk to what is on it. It needs the right to mount.

Where there is none, the directory is left as it is, and `why_it_cannot_fill` says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

ROOMY = "3g"
"""An upper limit: a tmpfs takes no more memory than what is written to it."""


class Disk:
    def __init__(self, path: Path) -> None:
        self._path = path
        self.why_it_cannot_fill: str | None = "not mounted yet"

    def __enter__(self) -> Self:
        self._path.mkdir(parents=True, exist_ok=True)
        self.why_it_cannot_fill = self._mount(f"size={ROOMY},mode=0755", "-t", "tmpfs", "tmpfs")
        return self

    def __exit__(self, *_: object) -> None:
        if self.why_it_cannot_fill is None:
            subprocess.run([_program("umount"), "--lazy", str(self._path)], check=True)

    @contextmanager
    def full(self) -> Iterator[None]:
        """Not one more block can be written."""
        while self._resize(self._used()) is not None:
            pass  # more was written since we looked
        try:
            yield
        finally:
            assert self._resize(ROOMY) is None

    def _used(self) -> str:
        usage = os.statvfs(self._path)
        return str((usage.f_blocks - usage.f_bfree) * usage.f_frsize)

    def _resize(self, size: str) -> str | None:
        return self._mount(f"remount,size={size}")

    def _mount(self, options: str, *arguments: str) -> str | None:
        """Why it did not work."""
        if os.geteuid() != 0:
            return "only root can mount a small disk"
        done = subprocess.run(
            [_program("mount"), "-o", options, *arguments, str(self._path)], capture_output=True, text=True, check=False
        )
        return done.stderr.strip() if done.returncode else None


def _program(name: str) -> str:
    return shutil.which(name) or name
