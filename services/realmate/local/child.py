"""A child process that cannot outlive its parent and whose output is kept in a log file.

The base of the embedded stores and of the services that `realmate up` starts. On Linux the kernel itself signals the
child when its parent dies, so even a kill -9 of the parent leaves nothing behind; elsewhere only an orderly stop does.
Every child leads a session of its own: Ctrl-C in the terminal reaches the parent alone, which then stops its children
in order.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from realmate.errors import UserError

PR_SET_PDEATHSIG = 1  # prctl(2)
POLL_INTERVAL_S = 0.02
LOG_TAIL_LINES = 8
LOG_ROTATE_BYTES = 16 * 1024 * 1024

_libc = ctypes.CDLL(None) if sys.platform == "linux" else None  # loaded here: little may be done between fork and exec


class LocalError(UserError):
    """Something on this machine is in the way of running here; the message is one clear line for a person."""


def signal_on_parent_death(number: signal.Signals) -> None:
    """Ask the kernel to send `number` to this process when its parent dies. Nothing happens where Linux is not."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, int(number))


class Child(ABC):
    """A process that can be started, stopped, killed and started again.

    Start children from the main thread only: to the kernel, a child's parent is the thread that made it.
    """

    name: str
    stop_signal = signal.SIGTERM
    death_signal = signal.SIGKILL
    ready_timeout_s = 60.0

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def start(self) -> None:
        """Start the process, again after a stop or a death too. Raises LocalError."""

    @property
    def pid(self) -> int:
        if self._process is None:
            raise LocalError(f"{self.name} has not been started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """The exit code as subprocess has it: negative for a signal, None while the process runs."""
        return None if self._process is None else self._process.poll()

    def terminate(self) -> None:
        """Ask the process to stop, and do not wait for it."""
        if self._process is not None and self.running:
            self._process.send_signal(self.stop_signal)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ask the process to stop; kill it if it still runs after `timeout_s`."""
        self.terminate()
        self.wait(timeout_s)

    def wait(self, timeout_s: float) -> None:
        """Wait for the process to end; kill it if it has not after `timeout_s`."""
        if self._process is None:
            return
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def log_tail(self) -> str:
        """The last lines the process wrote, indented, to stand below an error."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
        except OSError:
            return ""
        return "".join(f"\n    {line}" for line in lines)

    def _spawn(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, pass_fds: Sequence[int] = ()
    ) -> subprocess.Popen[bytes]:
        """Run `command` as this child, its output added to the log. The caller has made sure that none runs."""
        parent = os.getpid()
        death_signal = self.death_signal

        def die_with_parent() -> None:
            signal_on_parent_death(death_signal)
            if os.getppid() != parent:  # it died before the kernel knew of our wish
                os._exit(1)

        if self.log.exists() and self.log.stat().st_size > LOG_ROTATE_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 (fixed argument lists, no shell)
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=env,
                pass_fds=pass_fds,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 (a deadlock needs threads that hold locks; there are none)
            )
        return self._process

    def _wait_until(self, ready: Callable[[], bool]) -> None:
        """Poll `ready`. Raises LocalError with the log's end when the process dies or takes too long, and kills it."""
        try:
            self._poll(ready)
        except BaseException:  # an interrupt must not leave half a start behind either
            self.kill()
            raise

    def _poll(self, ready: Callable[[], bool]) -> None:
        give_up_at = time.monotonic() + self.ready_timeout_s
        while not ready():
            if not self.running:
                raise LocalError(f"{self.name} did not start:{self.log_tail()}")
            if time.monotonic() > give_up_at:
                raise LocalError(f"{self.name} was not ready within {self.ready_timeout_s:g} s:{self.log_tail()}")
            time.sleep(POLL_INTERVAL_S)
