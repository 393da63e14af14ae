"""The transport's brokers and processes, for the suites that share them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from brokers import Broker, RabbitBroker, RedisBroker
from rabbitmq import RabbitMQ
from realmate.local.valkey import Valkey
from transport_processes import Processes

BROKERS = ["redis", "rabbitmq"]


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """This pytest process's RabbitMQ."""
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server
    shutil.rmtree(server.directory)


@pytest.fixture
def redis_broker(valkey: Valkey) -> RedisBroker:
    """An empty Redis."""
    broker = RedisBroker(valkey)
    broker.empty()
    return broker


@pytest.fixture
def rabbit_broker(rabbitmq: RabbitMQ) -> RabbitBroker:
    """A RabbitMQ without our queue."""
    broker = RabbitBroker(rabbitmq)
    broker.empty()
    return broker


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Broker:
    """Each broker in turn, as new."""
    name = {"redis": "redis_broker", "rabbitmq": "rabbit_broker"}[request.param]
    found: Broker = request.getfixturevalue(name)
    return found


@pytest.fixture(params=BROKERS)
def own_broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    """Each broker in turn, one that the test may kill."""
    if request.param == "redis":
        with Valkey(tmp_path / "valkey") as valkey:
            yield RedisBroker(valkey)
    else:
        with RabbitMQ(tmp_path / "rabbitmq") as rabbitmq:
            yield RabbitBroker(rabbitmq)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    with ExitStack() as stack:
        yield Processes(tmp_path, stack)
