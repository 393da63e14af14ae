"""Starts http_process.py and speaks with it: what the tests of the HTTP server share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from raw_http import Answer, RawConnection, get

HERE = Path(__file__).parent
START_TIMEOUT_S = 30.0


class Server:
    """A running http_process.py; settings are given as environment variables."""

    def __init__(self, log: Path, *services: str, descriptors: int | None = None, **settings: object) -> None:
        self._log = log
        self._admin_port = settings.get("ADMIN_PORT")
        environment = {"PORT": "0", "LOG_FORMAT": "json"} | {name: str(value) for name, value in settings.items()}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*_limited(descriptors), sys.executable, HERE / "http_process.py", *services],
                env=os.environ | environment,
                stdout=output,
                stderr=output,
            )
        self.address = ("127.0.0.1", self._port())

    def _port(self) -> int:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            for line in self.log_lines("listening"):
                if line["port"] != self._admin_port:
                    return int(line["port"])
            time.sleep(0.02)
        raise RuntimeError(f"did not start: {self._log.read_text()}")

    def log_lines(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith('{"')]
        return [line for line in lines if line["event"] == event]

    def warnings(self, beginning: str) -> list[dict[str, Any]]:
        """The lines of the log that start so."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith('{"')]
        return [line for line in lines if line["event"].startswith(beginning)]

    def connect(self, *, timeout_s: float = 20.0, receive_buffer: int | None = None) -> RawConnection:
        return RawConnection(self.address, timeout_s=timeout_s, receive_buffer=receive_buffer)

    def ask(self, data: bytes) -> Answer:
        with self.connect() as client:
            return client.ask(data)

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def stop(self) -> int:
        if self.process.poll() is None:
            self.terminate()
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()


Start = Callable[..., Server]


@contextmanager
def starting(directory: Path) -> Iterator[Start]:
    """A function that starts a server with these services and settings; all are stopped in the end."""
    with ExitStack() as running:

        def start(*services: str, descriptors: int | None = None, **settings: object) -> Server:
            log = directory / f"{len(list(directory.iterdir()))}.log"
            server = Server(log, *services, descriptors=descriptors, **settings)
            running.callback(server.stop)
            return server

        yield start


def _limited(descriptors: int | None) -> list[str]:
    """The beginning of a command that may open no more files than this."""
    return [] if descriptors is None else ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"]


def wait_for_workers(server: Server, workers: int) -> None:
    """Until that many workers of /slow/ have been started."""
    line = f'realmate_http_batch_requests_count{{route="/slow/"}} {workers}.0'.encode()
    eventually(lambda: line in server.ask(get("/metrics")).body)


def eventually(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
