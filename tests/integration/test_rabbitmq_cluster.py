"""Three RabbitMQ nodes with a quorum queue, of which the one that leads it dies: the others go on, and so do we."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import psycopg2
import pytest

from installation import Installation, environment_of, event
from moving_address import MovingAddress
from needed import require_program
from rabbitmq import Epmd, RabbitMQ
from realmate.local.ports import free_port
from realmate.local.postgres import Postgres
from realmate.local.service import Migration, Service
from realmate.transport.amqp.connections import QUEUE

pytestmark = pytest.mark.timeout(300)
"""Three nodes take a minute to find each other on a machine that runs six other tests."""

NODES = 3
SENDERS = 8
HEALS_WITHIN_S = 5.0
PATIENCE_S = 60.0
WINDOW_S = 0.5
UNANSWERED = """
    SELECT count(*) FROM messages AS message WHERE kind = 1 AND (
        SELECT count(*) FROM messages AS reply
        WHERE reply.conversation_id = message.conversation_id AND kind = 2 AND content LIKE '%%' || message.id || '%%'
    ) <> 1
"""


@dataclass
class World:
    nodes: list[RabbitMQ]
    address: MovingAddress
    installation: Installation
    database_url: str

    def leader(self) -> RabbitMQ:
        """The node that leads the queue of commands."""
        listed = json.loads(self.nodes[0].control("list_queues", "name", "leader", "--formatter", "json"))
        [leader] = [queue["leader"] for queue in listed if queue["name"] == QUEUE]
        [node] = [each for each in self.nodes if each.node == leader]
        return node

    def ask_database(self, query: str, *values: object) -> int:
        with closing(psycopg2.connect(self.database_url)) as connection, connection.cursor() as cursor:
            cursor.execute(query, values)
            ((count,),) = cursor.fetchall()
            return int(count)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[RabbitMQ]]:
    require_program("rabbitmq-server", package="rabbitmq-server")
    with Epmd(tmp_path / "epmd.log") as epmd, ExitStack() as stack:
        nodes = [RabbitMQ(tmp_path / f"node-{number}", epmd=epmd) for number in range(NODES)]
        cookie = secrets.token_hex(16)
        for node in nodes:
            node.directory.mkdir()
            file = node.directory / ".erlang.cookie"
            file.write_text(cookie)
            file.chmod(0o400)
            stack.enter_context(node)
        for node in nodes[1:]:
            node.join(nodes[0])
        yield nodes


@pytest.fixture
def world(tmp_path: Path, nodes: list[RabbitMQ], postgres: Postgres, database_url: str) -> Iterator[World]:
    with ExitStack() as stack:
        address = stack.enter_context(MovingAddress(nodes[0].port))
        environment = environment_of(postgres, nodes[0], tmp_path) | {
            "DATABASE_URL": database_url,
            "TRANSPORT_URL": nodes[0].url.replace(f":{nodes[0].port}/", f":{address.port}/"),
            "GROUP_WINDOW_S": str(WINDOW_S),
        }
        Migration(environment, tmp_path / "migrate.log").start()

        def start(name: str, log: str) -> Service:
            return stack.enter_context(Service([name], environment | {"PORT": str(free_port())}, tmp_path / log))

        state = [start("conversations", f"conversations-{number}.log") for number in range(2)]
        installation = Installation(postgres, nodes[0], intake=start("webhook", "webhook.log"), state=state)
        for service in (installation.intake, *installation.state):
            service.wait_ready()
        yield World(nodes, address, installation, database_url)


def talk(world: World, stop: Event, promised: list[tuple[float, str]]) -> None:
    """Open a conversation and say something, again and again, each event until it is promised."""
    while not stop.is_set():
        conversation, message = str(uuid.uuid4()), str(uuid.uuid4())
        insist(world, event("NEW_CONVERSATION", id=conversation), promised, conversation)
        insist(world, event("NEW_MESSAGE", id=message, content="Oi", conversation_id=conversation), promised, message)


def insist(world: World, body: object, promised: list[tuple[float, str]], key: str) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while world.installation.ask("POST", "/webhook/", body)[0] not in {200, 201, 202}:
        assert time.monotonic() < give_up_at
        time.sleep(0.1)
    promised.append((time.monotonic(), key))


def test_the_death_of_the_leading_node_loses_nothing(world: World) -> None:
    stop, promised = Event(), list[tuple[float, str]]()
    with ThreadPoolExecutor(SENDERS) as threads:
        senders = [threads.submit(talk, world, stop, promised) for _ in range(SENDERS)]
        time.sleep(2)
        leader = world.leader()
        world.address.target = leader.port  # new connections: those that are open stay
        leader.kill()
        world.address.target = next(each.port for each in world.nodes if each is not leader)
        moved_at = time.monotonic()
        time.sleep(HEALS_WITHIN_S)
        stop.set()
        for sender in senders:
            sender.result(PATIENCE_S)
    first_s = min(at for at, _ in promised if at > moved_at + 0.2) - moved_at
    assert first_s < HEALS_WITHIN_S
    keys = [key for _, key in promised]
    stored = "SELECT (SELECT count(*) FROM conversations WHERE id = ANY(%s::uuid[]))"
    stored += " + (SELECT count(*) FROM messages WHERE id = ANY(%s::uuid[]) AND kind = 1)"
    assert world.ask_database(stored, keys, keys) == len(keys)
    give_up_at = time.monotonic() + PATIENCE_S
    while world.ask_database(UNANSWERED):
        assert time.monotonic() < give_up_at
        time.sleep(0.2)
