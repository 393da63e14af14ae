"""Runs open_loop.py, the load generator with a timetable, and reads what it measured."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from installation import BenchError
from outcome import Load

SCRIPT = Path(__file__).resolve().parent / "open_loop.py"
GOOD = "2"


def post_events(url: str, *, connections: int, rate: float, seconds: float) -> Load:
    """Send `rate` events a second. Raises BenchError."""
    with reports(url, connections=connections, rate=rate, seconds=seconds) as lines:
        loads = [load(line) for line in lines]
    return loads[-1]


@contextmanager
def reports(url: str, *, connections: int, rate: float, seconds: float, report_s: float = 1e9) -> Iterator[IO[str]]:
    """The generator's reports as they come, lines for `load`: one every `report_s`, the last of the whole."""
    options = [f"--connections={connections}", f"--rate={rate}", f"--seconds={seconds}", f"--report-s={report_s}"]
    generator = subprocess.Popen([sys.executable, SCRIPT, url, *options], stdout=subprocess.PIPE, text=True)
    try:
        if generator.stdout is None:
            raise BenchError("open_loop.py has no output")
        yield generator.stdout
        if generator.wait() != 0:
            raise BenchError(f"open_loop.py failed with exit code {generator.returncode}")
    finally:
        generator.kill()
        generator.wait()


def is_whole(line: str) -> bool:
    """Whether the report is the last one, of the whole time."""
    return bool(json.loads(line).get("whole"))


def load(line: str) -> Load:
    said: dict[str, Any] = json.loads(line)
    return Load(
        events=said["events"],
        per_second=said["per_second"],
        latency_ms=said["latency_ms"],
        late_ms=said["late_ms"],
        non_2xx=sum(count for status, count in said["statuses"].items() if not status.startswith(GOOD)),
        socket_errors=said["socket_errors"],
        unsent=said["unsent"],
    )
