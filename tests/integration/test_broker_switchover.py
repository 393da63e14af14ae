"""A broker that rejects commands, and one whose address moves: readiness tells, and services find the new one."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from installation import Installation, environment_of, event, start_installation
from moving_address import MovingAddress
from rabbitmq import RabbitMQ
from realmate.local.passwords import kept_password
from realmate.local.ports import free_port
from realmate.local.postgres import Postgres
from realmate.local.service import Migration, Service
from realmate.local.valkey import Valkey

HEALS_WITHIN_S = 5.0
PATIENCE_S = 30.0
LOOKS = 12


@dataclass
class Pair:
    """Two Valkeys behind one address: the second is the first one's replica."""

    first: Valkey
    second: Valkey
    address: MovingAddress
    installation: Installation

    def open(self) -> int:
        return self.installation.ask("POST", "/webhook/", event("NEW_CONVERSATION", id=str(uuid.uuid4())))[0]

    def rejection(self, service: Service) -> str | None:
        """What readiness says of the transport; None where it is well."""
        status, told = self.installation.ask("GET", "/readyz", of=service)
        return None if status == 200 else str(told["failing"].get("transport", told["failing"]))

    @property
    def services(self) -> list[Service]:
        return [self.installation.intake, *self.installation.state]

    def wait_until(self, is_so: Callable[[], bool], within_s: float = PATIENCE_S) -> None:
        give_up_at = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < give_up_at, [self.rejection(service) for service in self.services]
            time.sleep(0.05)


def client(server: Valkey) -> redis.Redis:
    return redis.Redis.from_url(server.url, protocol=2)


def follow(server: Valkey, primary: Valkey) -> None:
    with client(server) as connection:
        connection.config_set("masterauth", str(redis.connection.parse_url(primary.url)["password"]))
        connection.replicaof("127.0.0.1", str(primary.port))


@pytest.fixture
def pair(tmp_path: Path, postgres: Postgres, database_url: str) -> Iterator[Pair]:
    with ExitStack() as stack:
        first = stack.enter_context(Valkey(tmp_path / "first"))
        (tmp_path / "second").mkdir()
        password = kept_password(tmp_path / "first" / "password")
        (tmp_path / "second" / "password").write_text(password)
        second = stack.enter_context(Valkey(tmp_path / "second"))
        follow(second, first)
        address = stack.enter_context(MovingAddress(first.port))
        environment = environment_of(postgres, first, tmp_path) | {
            "DATABASE_URL": database_url,
            "TRANSPORT_URL": first.url.replace(f":{first.port}/", f":{address.port}/"),
        }
        Migration(environment, tmp_path / "migrate.log").start()

        def start(*names: str) -> Service:
            log = tmp_path / f"{names[0]}.log"
            return stack.enter_context(Service(names, environment | {"PORT": str(free_port())}, log))

        installation = Installation(postgres, first, intake=start("webhook"), state=[start("conversations")])
        for service in (installation.intake, *installation.state):
            service.wait_ready()
        yield Pair(first, second, address, installation)


def test_after_a_switchover_events_go_to_the_new_primary(pair: Pair) -> None:
    """The old primary lives on as a replica, and every connection to it stays open."""
    assert pair.open() == 201
    with client(pair.second) as second:
        second.replicaof("NO", "ONE")
    follow(pair.first, pair.second)
    pair.address.target = pair.second.port
    moved_at = time.monotonic()
    while pair.open() != 201:
        assert time.monotonic() - moved_at < HEALS_WITHIN_S
    assert time.monotonic() - moved_at < HEALS_WITHIN_S
    pair.wait_until(lambda: all(pair.rejection(service) is None for service in pair.services))
    assert [pair.open() for _ in range(20)] == [201] * 20


def _replica(pair: Pair) -> None:
    follow(pair.first, pair.second)
    with client(pair.second) as second:
        second.replicaof("NO", "ONE")


def _no_channels(pair: Pair) -> None:
    with client(pair.first) as first:
        first.execute_command("ACL", "SETUSER", "default", "resetchannels")


def _no_keys(pair: Pair) -> None:
    with client(pair.first) as first:
        first.execute_command("ACL", "SETUSER", "default", "resetkeys")


def _no_memory(pair: Pair) -> None:
    with client(pair.first) as first:
        first.config_set("maxmemory", "1mb")


def _no_replicas(pair: Pair) -> None:
    with client(pair.first) as first:
        first.config_set("min-replicas-to-write", "5")


@pytest.mark.parametrize(
    ("reject", "words"),
    [
        (_replica, "Redis is a read-only replica"),
        (_no_channels, "by its rights"),
        (_no_keys, "by its rights"),
        (_no_memory, "Redis has no memory left"),
        (_no_replicas, "too few replicas"),
    ],
)
def test_readiness_says_in_words_what_redis_rejects_and_is_steady(
    pair: Pair, reject: Callable[[Pair], None], words: str
) -> None:
    reject(pair)
    intake = pair.installation.intake
    pair.wait_until(lambda: words in (pair.rejection(intake) or ""))
    seen = []
    for _ in range(LOOKS):
        seen.append(pair.rejection(intake) or "ready")
        time.sleep(0.3)
    assert all(words in each for each in seen), seen
    assert pair.open() == 503


def test_an_alarm_of_rabbitmq_is_told_in_words_and_readiness_is_steady(tmp_path: Path) -> None:
    with start_installation(tmp_path, "amqp") as installation:
        broker = installation.broker
        assert isinstance(broker, RabbitMQ)
        broker.control("set_vm_memory_high_watermark", "0")

        def told() -> str:
            status, answer = installation.ask("GET", "/readyz")
            return "ready" if status == 200 else str(answer["failing"])

        give_up_at = time.monotonic() + PATIENCE_S
        while "RabbitMQ" not in told():
            assert time.monotonic() < give_up_at, told()
            time.sleep(0.1)
        seen = []
        for _ in range(LOOKS):
            seen.append(told())
            time.sleep(0.3)
        assert all("RabbitMQ" in each for each in seen), seen
        broker.control("set_vm_memory_high_watermark", "0.4")
        status, _ = installation.insist(event("NEW_CONVERSATION", id=str(uuid.uuid4())))
        assert status == 201
