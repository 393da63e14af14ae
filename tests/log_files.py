"""Looks into logs for what must not be there."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

SHOWN_CHARS = 200


def leaks(logs: Iterable[Path], markers: Sequence[str]) -> list[str]:
    """For each log and marker that it holds, the first such line."""
    found = []
    for log in logs:
        lines = log.read_text(errors="replace").splitlines()
        for marker in markers:
            if line := next((line for line in lines if marker in line), None):
                start = max(0, line.index(marker) - SHOWN_CHARS)
                found.append(f"{log.name}: ...{line[start : start + 2 * SHOWN_CHARS]}...")
    return found
