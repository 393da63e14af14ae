"""A Realmate of the benchmark's own: `realmate up` in a fresh directory on a free port, and nothing left of it after.

It is started as anybody starts it. What the benchmark needs to know beyond that (the processes, the database's URL) it
asks the operating system, not the program.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from realmate.local.child import LocalError
from realmate.local.ports import free_port
from realmate.local.postgres import running_url

ROOT = Path(__file__).resolve().parent.parent
STOP_TIMEOUT_S = 15.0
"""`realmate up` promises 10 s."""
INHERITED_STORES = ("DATABASE_URL", "REDIS_URL", "TRANSPORT_URL")
READY_SIGN = "Ctrl-C stops everything"


class BenchError(Exception):
    """The benchmark cannot go on; the message is one clear line for a person."""


@dataclass(frozen=True)
class Installation:
    url: str
    directory: Path
    database_url: str
    processes: dict[str, psutil.Process]
    """By name: webhook (it is query, too), conversations, postgres (its postmaster), valkey; rabbitmq where it runs."""


@contextmanager
def running(*, transport: str = "redis", settings: Mapping[str, str] | None = None) -> Iterator[Installation]:
    """Start a Realmate, yield it ready, stop it and remove its data. Raises BenchError.

    `settings` are environment variables for it; `transport` is redis or amqp, which starts a RabbitMQ, too.
    """
    cache = ROOT / ".cache"  # not /tmp, which is memory on many machines: fsync would cost nothing there
    cache.mkdir(exist_ok=True)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=cache)))
        port = free_port()
        environment = {name: value for name, value in os.environ.items() if name not in INHERITED_STORES}
        environment |= {"HOST": "127.0.0.1", "PORT": str(port), "PYTHONUNBUFFERED": "1"}
        environment |= {"REALMATE_DATA_DIR": str(directory / "realmate"), **(settings or {})}
        broker = {}
        if transport == "amqp":
            environment["TRANSPORT_URL"], broker["rabbitmq"] = _rabbitmq(directory / "rabbitmq", stack)
        up = subprocess.Popen(
            [sys.executable, "-m", "realmate", "up", "--exit-with-parent"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for us; we stop it in order then
        )
        stack.callback(_stop, up)
        _wait_until_ready(up)
        processes = _look_at(up)
        database_url = running_url(directory / "realmate" / "postgres")
        if database_url is None:
            raise BenchError("realmate up has started no Postgres")
        yield Installation(f"http://127.0.0.1:{port}", directory, database_url, processes | broker)


def _rabbitmq(directory: Path, stack: ExitStack) -> tuple[str, psutil.Process]:
    """The tests' RabbitMQ, stopped with `stack`: its URL and its process."""
    sys.path.append(str(ROOT / "tests"))
    from rabbitmq import RabbitMQ

    try:
        broker = stack.enter_context(RabbitMQ(directory))
    except LocalError as error:
        raise BenchError(str(error)) from error
    return broker.url, psutil.Process(broker.pid)


def _wait_until_ready(up: subprocess.Popen[str]) -> None:
    said = []
    for line in up.stdout or ():
        said.append(line)
        if READY_SIGN in line:
            return
    raise BenchError(f"realmate up did not start: {''.join(said).strip()}")


def _look_at(up: subprocess.Popen[str]) -> dict[str, psutil.Process]:
    processes = {_name(child): child for child in psutil.Process(up.pid).children()}
    missing = {"webhook", "conversations", "valkey", "postgres"} - processes.keys()
    if missing:
        raise BenchError(f"realmate up runs no process for {', '.join(sorted(missing))}")
    return processes


def _name(process: psutil.Process) -> str:
    arguments = process.cmdline()
    if "run" in arguments:  # python -m realmate run webhook query: one process, named after its first service
        return str(arguments[arguments.index("run") + 1])
    return str(process.name()).removesuffix("-server")


def _stop(up: subprocess.Popen[str]) -> None:
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would only leave the directory behind
    up.send_signal(signal.SIGTERM)
    try:
        up.communicate(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        up.kill()  # its children die with it: the kernel sees to that
        up.communicate()
    signal.signal(signal.SIGINT, interrupt)
