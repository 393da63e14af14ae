"""Programs that tests need and that no wheel brings: from Debian on the machines that run CI."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

CI = bool(os.environ.get("CI"))
BEYOND_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where Debian puts servers: root's PATH has it, a user's has not."""


def require_program(program: str, *, package: str) -> Path:
    """Where `program` is. Without it the test is skipped and says what to install; in CI it fails instead."""
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":" + BEYOND_PATH)
    if found:
        return Path(found)
    hint = f"needs {program}: apt-get install {package}"
    if CI:
        pytest.fail(hint)
    pytest.skip(hint)
