"""What `realmate tail` remembers under a name: its place in the feed, and the secret with which it signs."""

from __future__ import annotations

import json
import os
import re
import secrets
from base64 import b64encode
from contextlib import suppress
from pathlib import Path
from typing import Any

from realmate.errors import UserError


class CannotRemember(UserError):
    """The file with the place cannot be read or written."""


class Following:
    """The place and the secret. Without a name nothing is kept."""

    def __init__(self, name: str | None) -> None:
        """Raises CannotRemember."""
        self._path: Path | None = None
        self._kept: dict[str, Any] = {}
        if name is not None:
            if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) or name.startswith("."):
                raise CannotRemember("a name has letters, digits, - and _ alone, 64 at most")
            self._path = _directory() / f"tail-{name}.json"
            with suppress(FileNotFoundError):
                try:
                    self._kept = dict(json.loads(self._path.read_text()))
                except (ValueError, TypeError) as error:
                    raise CannotRemember(f"{self._path} is not what `realmate tail` wrote: {error}") from error

    @property
    def cursor(self) -> str | None:
        """The place to go on from; None: nothing is known yet."""
        return self._kept.get("cursor")

    def move(self, cursor: str) -> None:
        """Remember the place. Raises OSError."""
        if cursor != self.cursor:
            self._kept["cursor"] = cursor
            self._write()

    def secret(self) -> tuple[str, bool]:
        """Return the secret, and whether it was just made. Raises OSError."""
        if "secret" in self._kept:
            return str(self._kept["secret"]), False
        self._kept["secret"] = made = f"whsec_{b64encode(secrets.token_bytes(32)).decode()}"
        self._write()
        return made, True

    def _write(self) -> None:
        """Write the file whole, or leave the one that is there."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = self._path.with_suffix(f".{os.getpid()}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(self._kept, file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)


def _directory() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "realmate"
