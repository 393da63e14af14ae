"""Runs wrk, the HTTP load generator, and reads what it measured."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from installation import BenchError
from outcome import Load

HERE = Path(__file__).resolve().parent
THREADS = 1
"""wrk needs about 10 µs a request: one thread drives more than any two cores answer, and leaves the other to them."""
TIMEOUT_S = 30
RESULT = "RESULT "
INSTALL = "wrk is not installed: `apt-get install wrk`, `brew install wrk`, or https://github.com/wg/wrk"


def ensure_installed() -> None:
    """Install wrk where it is missing and we may. Raises BenchError."""
    if shutil.which("wrk"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise BenchError(INSTALL)
    print("Installing wrk (apt-get install wrk) ...", flush=True)
    installing = subprocess.run(["apt-get", "install", "-qy", "wrk"], capture_output=True, text=True, check=False)
    if installing.returncode != 0:
        raise BenchError(f"{INSTALL} (apt-get failed: {installing.stderr.strip().splitlines()[-1:]})")


def post_events(
    url: str, *, connections: int, seconds: int, path: str = "/webhook/", headers: Sequence[str] = ()
) -> Load:
    """NEW_CONVERSATIONs and ten NEW_MESSAGEs for each, with ids never used before.

    `headers` are ["keyed"] or ["signed", secret]: see webhook.lua.
    """
    arguments = [str(secrets.randbits(48)), str(connections // THREADS), *headers]
    return _run("webhook.lua", f"{url}{path}", arguments, connections, seconds)


def post_messages(url: str, *, connections: int, seconds: int, first: int, count: int) -> Load:
    """NEW_MESSAGEs into the conversations that have these numbers in stored.py, picked at random."""
    seed = str(secrets.randbits(48))
    return _run("messages.lua", f"{url}/webhook/", [seed, str(first), str(count)], connections, seconds)


def get(url: str, *, connections: int, seconds: int, count: int) -> Load:
    """GETs of those conversations, from number 1 on, picked at random."""
    return _run("get.lua", url, [str(secrets.randbits(48)), "1", str(count)], connections, seconds)


def list_(url: str, query: str, *, connections: int, seconds: int) -> Load:
    """GETs of one page of the list of conversations."""
    return _run("list.lua", url, [query], connections, seconds)


def _run(script: str, url: str, arguments: list[str], connections: int, seconds: int) -> Load:
    options = [f"-t{THREADS}", f"-c{connections}", f"-d{seconds}s", f"--timeout={TIMEOUT_S}s", "-s", script]
    ran = subprocess.run(
        ["wrk", *options, url, "--", *arguments],
        cwd=HERE,  # where `require` finds report.lua
        capture_output=True,
        text=True,
        check=False,
    )
    for line in ran.stdout.splitlines():
        if line.startswith(RESULT):
            return _load(json.loads(line.removeprefix(RESULT)))
    raise BenchError(f"wrk failed: {(ran.stderr or ran.stdout).strip()}")


def _load(said: dict[str, Any]) -> Load:
    return Load(
        events=said["requests"],
        per_second=said["requests"] / (said["duration_us"] / 1e6),
        latency_ms={name: said[f"{name}_us"] / 1e3 for name in ("p50", "p90", "p99")},
        non_2xx=said["non_2xx"],
        socket_errors=said["socket_errors"] + said["timeouts"],
    )
