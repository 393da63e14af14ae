"""A RabbitMQ of Debian's package for tests, as any user, on ports of its own; the like of `realmate.local.valkey`.

Its distribution listens on 127.0.0.1 and finds itself through an epmd of its own, so that several run side by side and
none leaves a daemon behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import kombu
from amqp.exceptions import AMQPError

from needed import require_program
from realmate.local.child import Child
from realmate.local.ports import free_port

CONFIGURATION = """\
listeners.tcp.default = 127.0.0.1:{port}
loopback_users = none
log.console = true
log.console.level = warning
log.file = false
disk_free_limit.absolute = 50MB
"""
NODE_ARGUMENTS = "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +S 2:2"
"""One loopback listener for the distribution; schedulers that do not spin while they wait (tests share few cores)."""


class Epmd(Child):
    """Erlang's port mapper: without one of ours, the server would start a daemon that nobody stops."""

    def __init__(self, log: Path) -> None:
        super().__init__("epmd", log)
        self.port = free_port()

    def start(self) -> None:
        program = require_program("epmd", package="rabbitmq-server")
        self._spawn([str(program), "-address", "127.0.0.1", "-port", str(self.port)])


class RabbitMQ(Child):
    """A RabbitMQ server whose files are in `directory`; queues and messages survive `kill` and `start`."""

    # SIGTERM goes to the Erlang machine itself, which stops the broker in order.
    stop_signal = signal.SIGTERM

    def __init__(self, directory: Path, *, epmd: Epmd | None = None) -> None:
        """The nodes of one cluster share an `epmd`, which is then not this one's to stop."""
        self.directory = directory.resolve()
        super().__init__("RabbitMQ", self.directory / "rabbitmq.log")
        self._owns_epmd = epmd is None
        self._epmd = epmd or Epmd(self.directory / "epmd.log")
        self.port = free_port()

    @property
    def node(self) -> str:
        """Its name in the cluster."""
        return f"realmate-{self.port}@localhost"

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        require_program("rabbitmq-server", package="rabbitmq-server")
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "rabbitmq.conf").write_text(CONFIGURATION.format(port=self.port))
        (self.directory / "enabled_plugins").write_text("[].")
        if not self._epmd.running:
            self._epmd.start()
        # Debian's own wrapper would insist on the user rabbitmq and on /var/lib.
        self._spawn(["/usr/lib/rabbitmq/bin/rabbitmq-server"], env=self._environment())
        self._wait_until(self._answers)

    def stop(self, timeout_s: float = 20.0) -> None:
        super().stop(timeout_s)
        if self._owns_epmd:
            self._epmd.stop()

    def join(self, other: RabbitMQ) -> None:
        """Become a node of the other one's cluster. Both must run, with one cookie and one epmd."""
        self.control("stop_app")
        self.control("join_cluster", other.node)
        self.control("start_app")

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl against this server; what it prints."""
        command = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "--quiet", *arguments]
        return subprocess.run(command, env=self._environment(), check=True, stdout=subprocess.PIPE, text=True).stdout

    def _environment(self) -> dict[str, str]:
        return os.environ | {
            "HOME": str(self.directory),  # where Erlang keeps its cookie
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the server instead of watching it: one pid to kill
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "none"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": NODE_ARGUMENTS,
            "RABBITMQ_DIST_PORT": str(free_port()),
            "ERL_EPMD_PORT": str(self._epmd.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def _answers(self) -> bool:
        try:
            with kombu.Connection(self.url, connect_timeout=2) as connection:
                connection.ensure_connection(max_retries=0)
        except (OSError, AMQPError, kombu.exceptions.OperationalError):
            return False
        return True
