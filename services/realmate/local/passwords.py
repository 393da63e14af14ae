"""The password of an embedded store: made at first, then kept beside its data, readable by its owner alone."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def kept_password(path: Path) -> str:
    """The password in `path`, made there when there is none yet."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text()
    with os.fdopen(descriptor, "w") as file:
        file.write(password := secrets.token_urlsafe(24))
    return password
