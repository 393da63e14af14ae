"""Realmate's own processes, as `realmate up` runs them: services, and the migration before them."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

from realmate.local.child import Child, LocalError

READY_TIMEOUT_S = 2.5
"""Longer than a check of readiness takes at most."""


class Service(Child):
    """`realmate run NAMES`, with everything it needs to know in `environment`."""

    def __init__(self, names: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        super().__init__(", ".join(names), log)
        self._names = names
        self._environment = environment
        self.port = int(environment["PORT"])

    @property
    def url(self) -> str:
        return url_of(self._environment["HOST"], self.port)

    def start(self) -> None:
        """Start the process and return at once; see `wait_ready`."""
        if self._process is not None:  # its gauges must not be counted as those of a living process
            mark_process_dead(self.pid, self._environment["PROMETHEUS_MULTIPROC_DIR"])  # type: ignore[no-untyped-call]
        self._spawn([sys.executable, "-m", "realmate", "run", *self._names], env=self._environment)

    def wait_ready(self) -> None:
        """Return when /readyz says 200. Raises LocalError with the log's end."""
        self._wait_until(self.is_ready)

    def is_ready(self) -> bool:
        """Whether /readyz says 200 now. This looks once; `wait_ready` waits."""
        connection = http.client.HTTPConnection(
            reachable(self._environment["HOST"]), self.port, timeout=READY_TIMEOUT_S
        )
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def reachable(host: str) -> str:
    """Return where a client on this machine reaches a server that listens on this host."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def url_of(host: str, port: int) -> str:
    """Return the URL of a server that listens on this host and port, for a client on this machine."""
    host = reachable(host)
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


class Migration(Child):
    """`realmate migrate`: starts, does its work and ends."""

    def __init__(self, environment: Mapping[str, str], log: Path) -> None:
        super().__init__("the migration", log)
        self._environment = environment

    def start(self) -> None:
        """Return when the schema is this version's. Raises LocalError."""
        process = self._spawn([sys.executable, "-m", "realmate", "migrate"], env=self._environment)
        if process.wait() != 0:
            raise LocalError(f"the database could not be migrated:{self.log_tail()}")
