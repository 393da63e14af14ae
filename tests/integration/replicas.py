"""Two replicas of each service, and the two ways to them: an endpoint controller's list, and the project's own edge."""

from __future__ import annotations

import http.client
import os
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from installation import TRANSPORTS, Broker, environment_of
from needed import require_program
from realmate.local.child import Child
from realmate.local.ports import free_port
from realmate.local.postgres import Postgres
from realmate.local.service import Migration, Service

REPLICAS = 2
LOOK_INTERVAL_S = 0.1
STOP_TIMEOUT_S = 30.0
EDGE = Path(__file__).parents[2] / "edge" / "haproxy.cfg"


@dataclass
class Replicas:
    """The services of a whole Realmate, by name."""

    directory: Path
    webhook: list[Service]
    conversations: list[Service]
    query: list[Service]
    console: list[Service] = field(default_factory=list)

    @property
    def all(self) -> list[Service]:
        return [*self.webhook, *self.conversations, *self.query, *self.console]

    @property
    def waves(self) -> list[tuple[Service, ...]]:
        """How a deploy replaces them: every service at the same time, each one replica after the other."""
        return list(zip(self.webhook, self.conversations, self.query, strict=True))


@contextmanager
def start_replicas(directory: Path, transport: str, *, console: bool = False, **settings: str) -> Iterator[Replicas]:
    """Everything started and ready, over "redis" or "amqp"; `settings` are the services' environment variables."""
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres(directory / "postgres"))
        broker: Broker = stack.enter_context(TRANSPORTS[transport](directory / "broker"))
        environment = environment_of(postgres, broker, directory) | {"LOG_FORMAT": "json"} | settings
        Migration(environment, directory / "migrate.log").start()

        def start(name: str) -> list[Service]:
            return [
                stack.enter_context(
                    Service([name], environment | {"PORT": str(free_port())}, directory / f"{name}-{number}.log")
                )
                for number in range(REPLICAS)
            ]

        replicas = Replicas(directory, start("webhook"), start("conversations"), start("query"))
        if console:
            environment["WEBHOOK_URL"] = replicas.webhook[0].url
            replicas.console += start("console")
        for service in replicas.all:
            service.wait_ready()
        yield replicas


class Endpoints:
    """Which replicas of a service get requests: those that were ready when last looked at, a moment ago."""

    def __init__(self, services: list[Service]) -> None:
        self._services = services
        self._ready = {service.port for service in services}
        self._over = threading.Event()
        self._controller = threading.Thread(target=self._control)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._controller.join()

    def choose(self) -> int:
        """The port of one of them."""
        return random.choice(list(self._ready))

    def wait_complete(self) -> None:
        while len(self._ready) < len(self._services):
            time.sleep(LOOK_INTERVAL_S)

    def _control(self) -> None:
        while not self._over.wait(LOOK_INTERVAL_S):
            self._ready = {service.port for service in self._services if is_ready(service.port)}


class Edge(Child):
    """Debian's HAProxy with the project's own configuration, before these replicas."""

    def __init__(self, replicas: Replicas) -> None:
        super().__init__("the edge", replicas.directory / "edge.log")
        self._program = require_program("haproxy", package="haproxy")
        self._servers = replicas.directory / "servers.cfg"
        self.port = free_port()
        self._completeness_port = free_port()
        backends = [_backend("webhook", "edge", replicas.webhook), _backend("query", "readers", replicas.query)]
        if replicas.console:
            backends.append(_backend("console", "operations", replicas.console))
        self._servers.write_text("\n".join([*backends, _completeness(self._completeness_port)]))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Return when it has found replicas of both."""
        bind = {"EDGE_BIND": f"127.0.0.1:{self.port}"}
        self._spawn([str(self._program), "-db", "-f", str(EDGE), "-f", str(self._servers)], env=os.environ | bind)
        self._wait_until(lambda: is_ready(self.port))
        self.wait_complete()

    def wait_complete(self) -> None:
        """Return when the edge, too, knows that every replica is there."""
        self._wait_until(lambda: is_ready(self._completeness_port))


def _backend(name: str, defaults: str, services: list[Service]) -> str:
    lines = [f"    server {name}-{number} 127.0.0.1:{service.port}" for number, service in enumerate(services)]
    return "\n".join([f"backend {name} from {defaults}", *lines, ""])


def _completeness(port: int) -> str:
    """A frontend for the test alone: 200 while the edge sees every replica."""
    complete = " ".join(f"{{ nbsrv({name}) ge {REPLICAS} }}" for name in ("webhook", "query"))
    return f"""
frontend completeness from edge
    bind 127.0.0.1:{port}
    http-request return status 200 if {complete}
    http-request return status 503
"""


def is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def restart(services: Sequence[Service]) -> None:
    """All at once and in place, as pods are replaced: SIGTERM, an end in order, a new process, its readiness."""
    for service in services:
        service.terminate()
    for service in services:
        service.wait(STOP_TIMEOUT_S)
        assert service.exit_code == 0, f"{service.name} did not stop in order:{service.log_tail()}"
        service.start()
    for service in services:
        service.wait_ready()
