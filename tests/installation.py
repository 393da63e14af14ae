"""A whole Realmate of real processes, for tests that break it: one intake, two conversations services, their stores.

`tests/faults/cluster.py` has the larger one: two replicas of each service behind proxies, on either transport.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from rabbitmq import RabbitMQ
from realmate.local.ports import free_port
from realmate.local.postgres import Postgres
from realmate.local.service import Migration, Service
from realmate.local.valkey import Valkey

QUEUE_REGISTERED_S = 2.0
"""RabbitMQ killed within a second of a queue's creation brings it back broken (docs/adr/0007)."""

Answer = tuple[int, dict[str, Any]]
Broker = Valkey | RabbitMQ
TRANSPORTS = {"redis": Valkey, "amqp": RabbitMQ}
"""What each transport runs over."""


@dataclass
class Installation:
    postgres: Postgres
    broker: Broker
    intake: Service
    state: list[Service]
    deliveries: list[Service] = field(default_factory=list)

    def ask(self, method: str, path: str, body: object = None, *, of: Service | None = None) -> Answer:
        """One request on a connection of its own, to the intake. Raises OSError or HTTPException without an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", (of or self.intake).port, timeout=15)
        try:
            connection.request(method, path, body if body is None else json.dumps(body))
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def insist(self, body: object) -> Answer:
        """Send an event until it is answered otherwise than with a 503, as a sender does."""
        while True:
            try:
                answer = self.ask("POST", "/webhook/", body)
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
            else:
                if answer[0] != 503:
                    return answer
                time.sleep(0.1)


def event(kind: str, **data: str) -> dict[str, Any]:
    return {"type": kind, "timestamp": "2025-06-04T14:20:05Z", "data": data}


def environment_of(postgres: Postgres, broker: Broker | None, directory: Path) -> dict[str, str]:
    """What a service's process needs to know, but for its port (and, without a broker, for its transport)."""
    metrics = directory / "metrics"
    metrics.mkdir()
    return {
        **os.environ,
        "HOST": "127.0.0.1",
        "DATABASE_URL": postgres.url,
        **({"TRANSPORT_URL": broker.url} if broker else {}),
        "PROMETHEUS_MULTIPROC_DIR": str(metrics),
    }


@contextmanager
def start_installation(
    directory: Path,
    transport: str = "redis",
    *,
    make_postgres: Callable[[Path], Postgres] = Postgres,
    console: bool = False,
    deliveries: int = 0,
    **settings: str,
) -> Iterator[Installation]:
    """Everything started and ready, and the console and deliveries' replicas if they are wanted.

    `settings` are the services' environment.
    """
    with ExitStack() as stack:
        postgres = stack.enter_context(make_postgres(directory / "postgres"))
        broker: Broker = stack.enter_context(TRANSPORTS[transport](directory / "broker"))
        environment = environment_of(postgres, broker, directory) | settings
        Migration(environment, directory / "migrate.log").start()

        def start(*names: str, log: str) -> Service:
            port = str(free_port())
            own = {"PORT": port, "WEBHOOK_URL": f"http://127.0.0.1:{port}"}
            service = Service(names, environment | own, directory / log)
            stack.enter_context(service)
            return service

        state = [start("conversations", log=f"conversations-{number}.log") for number in range(2)]
        intake = start("webhook", "query", *(["console"] if console else []), log="intake.log")
        tellers = [start("deliveries", log=f"deliveries-{number}.log") for number in range(deliveries)]
        for service in (*state, intake, *tellers):
            service.wait_ready()
        if transport == "amqp":
            time.sleep(QUEUE_REGISTERED_S)
        yield Installation(postgres, broker, intake, state, tellers)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process and its children neither die nor move: what a hanging disk or a pulled cable looks like."""
    process = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    _signal(family, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(family, signal.SIGCONT)


def _signal(family: list[psutil.Process], number: signal.Signals) -> None:
    for each in family:
        with suppress(psutil.NoSuchProcess):  # a child may end at any moment, a killed one even while it is frozen
            each.send_signal(number)
