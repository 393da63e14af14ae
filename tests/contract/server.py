"""One Realmate for a test session, shared by all its pytest-xdist workers. The contract's conftest uses it.

There is no server until a test asks for its URL. Whoever asks first starts it; being its parent, that process is also
the one to stop it, after all others have left. Two file locks say who is there; the kernel drops them with a process
that dies, and `--exit-with-parent` takes the server along, so nothing outlives an interrupted run.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from client import MARKER, SIGNING_SOURCE
from log_files import leaks
from rabbitmq import RabbitMQ
from realmate.local.ports import free_port
from realmate.runtime.settings import Settings
from signatures import SECRET

SOURCES = f"""
[sources.default]

[sources.{SIGNING_SOURCE}.signing]
scheme = "standard-webhooks"
secrets = [{{ value = "{SECRET}" }}]
"""

LEAKED = "leaked"
"""The file in a server's directory that tells the whole session what its logs have given away."""
START_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0


class SharedServer:
    """This process's share in the server of `directory`, which all workers of the session have in common."""

    def __init__(self, directory: Path, *, transport: str) -> None:
        """`transport` is redis, which `realmate up` brings, or rabbitmq, which is started beside it."""
        self._directory = directory
        self._rabbitmq = RabbitMQ(directory / "rabbitmq") if transport == "rabbitmq" else None
        self._url = directory / "url"
        self._process: subprocess.Popen[bytes] | None = None
        self._users = (directory / "users.lock").open("w")

    def join(self) -> str:
        """The server's URL; starts it if nobody has. Raises RuntimeError with its output if it does not start."""
        with (self._directory / "start.lock").open("w") as start:
            fcntl.flock(start, fcntl.LOCK_EX)
            fcntl.flock(self._users, fcntl.LOCK_SH)  # waits while a server of before is being stopped
            if not self._url.exists():
                self._url.write_text(self._start())
            return self._url.read_text()

    @property
    def started_here(self) -> bool:
        return self._process is not None

    def leave(self) -> None:
        """Stop the server once nobody uses it, if it was started here. Else just go."""
        if self._process is not None:
            fcntl.flock(self._users, fcntl.LOCK_EX)  # waits until all others have left
            self._url.unlink(missing_ok=True)
            _stop(self._process)
            if self._rabbitmq is not None:
                self._rabbitmq.stop()
            self._check_logs()
            shutil.rmtree(self._directory / "data", ignore_errors=True)  # 80 MB, and pytest would keep the last three
        self._users.close()

    def _check_logs(self) -> None:
        """Note where a log of the server or of its stores has something that people wrote, a key or a secret."""
        logs = [path for path in self._directory.rglob("*") if ".log" in path.suffixes and path.is_file()]
        found = leaks(logs, [MARKER, SECRET])
        if found:
            (self._directory / LEAKED).write_text("\n".join(found))

    def _start(self) -> str:
        port, data, output = free_port(), self._directory / "data", self._directory / "output.log"
        # Realmate's defaults are under test, not the settings of whoever runs the tests.
        inherited = {name: value for name, value in os.environ.items() if name.lower() not in Settings.model_fields}
        environment = {**inherited, "PORT": str(port), "REALMATE_DATA_DIR": str(data)}
        environment["SOURCES_FILE"] = str(self._directory / "sources.toml")
        Path(environment["SOURCES_FILE"]).write_text(SOURCES)
        if self._rabbitmq is not None:
            self._rabbitmq.start()
            environment["TRANSPORT_URL"] = self._rabbitmq.url
        command = [sys.executable, "-m", "realmate", "up", "--exit-with-parent"]
        with output.open("wb") as log:
            process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _is_ready(url):
            if process.poll() is not None or time.monotonic() > deadline:
                _stop(process)
                raise RuntimeError(f"`realmate up` did not get ready:\n{output.read_text(errors='replace')}")
            time.sleep(0.1)
        self._process = process
        return url


def _is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/readyz", timeout=5) as response:  # noqa: S310 (the URL is made above)
            return response.status == 200
    except (URLError, OSError):
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
