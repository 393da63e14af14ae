"""Processes of the drill's own: scripts that get their order as JSON, and journals of what they were told."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TypeVar

import msgspec

from realmate.local.child import Child

TESTS = Path(__file__).parents[1]
T = TypeVar("T")


class ScriptedChild(Child):
    def _spawn_script(self, program: str | Path, order: object) -> None:
        """Start a script beside the services, by the machine's own clock, with what all tests share."""
        environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        environment["PYTHONPATH"] = str(TESTS)
        self._spawn([sys.executable, str(program), msgspec.json.encode(order).decode()], env=environment)


def read_journal(path: Path, kind: type[T]) -> list[T]:
    """Return the whole lines of a journal. Its writer may have been killed in the middle of the last one."""
    decoder = msgspec.json.Decoder(kind)
    return [decoder.decode(line) for line in path.read_bytes().split(b"\n")[:-1]]
