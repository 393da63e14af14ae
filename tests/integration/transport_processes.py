"""Callers and consumers of the transport in processes of their own (transport_process.py), as tests drive them."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

PROCESS = Path(__file__).with_name("transport_process.py")
PATIENCE_S = 60.0  # what a loaded machine may need, not what is promised
CLAIM_IDLE_S = 0.5


def eventually(claim: Callable[[], bool], patience_s: float = PATIENCE_S) -> bool:
    give_up_at = time.monotonic() + patience_s
    while not claim():
        if time.monotonic() > give_up_at:
            return False
        time.sleep(0.02)
    return True


class Process:
    """One service of transport_process.py, and what it has told.

    It tells by a file, not a pipe: what it told before it answered can be read as soon as the answer is here.
    """

    def __init__(self, kind: str, url: str, log: Path, **settings: str) -> None:
        self.log = log
        self._told = log.with_suffix(".told")
        environment = {"TRANSPORT_URL": url, "CLAIM_IDLE_S": str(CLAIM_IDLE_S), "LOG_FORMAT": "json"}
        environment |= {name.upper(): value for name, value in settings.items()}
        with log.open("w") as stderr, self._told.open("w") as stdout:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "ignore::DeprecationWarning", str(PROCESS), kind],
                stdin=subprocess.PIPE,
                stdout=stdout,
                stderr=stderr,
                text=True,
                env=os.environ | environment,
            )

    def __enter__(self) -> Self:
        assert eventually(lambda: any("started" in facts for facts in self.told())), self.log.read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self._process.wait()
        assert self._process.stdin
        self._process.stdin.close()

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> int:
        """Wait until it ends by itself; its exit code."""
        return self._process.wait(PATIENCE_S)

    def terminate(self) -> float:
        """SIGTERM; returns the seconds it took."""
        started = time.monotonic()
        self.signal(signal.SIGTERM)
        assert self._process.wait(PATIENCE_S) == 0, self.log.read_text()
        return time.monotonic() - started

    def told(self) -> list[dict[str, Any]]:
        """In whole lines: the last one may be half written."""
        return [json.loads(line) for line in self._told.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def log_events(self) -> list[str]:
        return [json.loads(line)["event"] for line in self.log.read_text().splitlines() if line.startswith("{")]

    def send(self, line: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(line) + "\n")
        self._process.stdin.flush()


@dataclass
class Call:
    """A call under way in a caller's process."""

    caller: Process
    number: int

    @property
    def done(self) -> bool:
        return bool(self._outcome())

    def result(self, timeout_s: float) -> dict[str, Any]:
        """`reply` (None: TransportUnavailable) and `took_s`."""
        assert eventually(lambda: self.done, timeout_s)
        return self._outcome()[0]

    def _outcome(self) -> list[dict[str, Any]]:
        return [facts for facts in self.caller.told() if facts.get("call") == self.number]


class CallerProcess(Process):
    def __init__(self, url: str, log: Path, **settings: str) -> None:
        self._numbers = itertools.count()
        super().__init__("caller", url, log, **settings)

    def start_call(self, payload: str, *, timeout_s: float = PATIENCE_S) -> Call:
        call = Call(self, next(self._numbers))
        self.send({"call": call.number, "payload": payload, "timeout_s": timeout_s})
        return call

    def call(self, payload: str, *, timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        return self.start_call(payload, timeout_s=timeout_s).result(PATIENCE_S)


class ConsumerProcess(Process):
    def __init__(self, kind: str, url: str, log: Path, **settings: str) -> None:
        self._taken = 0
        super().__init__(kind, url, log, **settings)

    @property
    def handed(self) -> list[dict[str, Any]]:
        return [delivery for batch in self.batches for delivery in batch]

    def next_batch(self) -> list[dict[str, Any]]:
        """The deliveries the service was handed together."""
        assert eventually(lambda: len(self.batches) > self._taken)
        self._taken += 1
        return self.batches[self._taken - 1]

    @property
    def batches(self) -> list[list[dict[str, Any]]]:
        return [facts["deliveries"] for facts in self.told() if "deliveries" in facts]


class Processes:
    """Starts the processes of one test, which ends them all."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self._logs = (directory / f"{number}.log" for number in itertools.count())
        self._stack = stack

    def caller(self, url: str, **settings: str) -> CallerProcess:
        return self._stack.enter_context(CallerProcess(url, next(self._logs), **settings))

    def consumer(self, url: str, kind: str = "echo", **settings: str) -> ConsumerProcess:
        return self._stack.enter_context(ConsumerProcess(kind, url, next(self._logs), **settings))
