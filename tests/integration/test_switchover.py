"""Postgres' address moves to a new primary while the old one lives on as a standby: services find the new one."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from event_streams import EventStream, Sent
from installation import Installation, environment_of, event
from moving_address import MovingAddress
from realmate.local.ports import free_port
from realmate.local.service import Migration, Service
from realmate.local.valkey import Valkey
from realmate.runtime.postgres import connect
from replication import ReplicatedPostgres

HEALS_WITHIN_S = 5.0
PATIENCE_S = 30.0


@dataclass
class Pair:
    """Two servers, behind one address, and services that know the address alone."""

    first: ReplicatedPostgres
    second: ReplicatedPostgres
    address: MovingAddress
    installation: Installation

    def url(self, server: ReplicatedPostgres) -> str:
        return server.url.replace(f":{server.port}/", f":{self.address.port}/")

    def opens_conversation(self) -> str | None:
        key = str(uuid.uuid4())
        status, _ = self.installation.ask("POST", "/webhook/", event("NEW_CONVERSATION", id=key))
        return key if status == 201 else None

    def is_ready(self) -> bool:
        return all(service.is_ready() for service in (self.installation.intake, *self.installation.state))

    def switch_over(self) -> None:
        """The second server becomes the primary and the first its standby. The address stays with the first."""
        self.first.stop()
        self.second.promote()
        self.first.follow(self.second)
        self.first.start()


@pytest.fixture
def pair(tmp_path: Path, valkey: Valkey) -> Iterator[Pair]:
    with ExitStack() as stack:
        first = stack.enter_context(ReplicatedPostgres(tmp_path / "first"))
        second = ReplicatedPostgres(tmp_path / "second")
        second.copy(first)
        stack.enter_context(second)
        address = stack.enter_context(MovingAddress(first.port))
        environment = environment_of(first, valkey, tmp_path)
        Migration(environment, tmp_path / "migrate.log").start()
        environment["DATABASE_URL"] = first.url.replace(f":{first.port}/", f":{address.port}/")

        def start(*names: str) -> Service:
            log = tmp_path / f"{names[0]}.log"
            return stack.enter_context(Service(names, environment | {"PORT": str(free_port())}, log))

        installation = Installation(first, valkey, intake=start("webhook", "query"), state=[start("conversations")])
        for service in (installation.intake, *installation.state):
            service.wait_ready()
        yield Pair(first, second, address, installation)


def wait_until_not_ready(pair: Pair) -> str:
    """What readiness says of the database then."""
    give_up_at = time.monotonic() + PATIENCE_S
    while True:
        status, told = pair.installation.ask("GET", "/readyz", of=pair.installation.state[0])
        if status == 503 and "read only" in told["failing"].get("database", ""):
            return str(told["failing"]["database"])
        assert time.monotonic() < give_up_at, told
        time.sleep(0.1)


def test_after_a_switchover_events_and_reads_go_to_the_new_primary(pair: Pair) -> None:
    assert pair.opens_conversation()
    pair.switch_over()
    assert wait_until_not_ready(pair).startswith("the database is read only: a standby")
    assert pair.opens_conversation() is None

    pair.address.target = pair.second.port
    moved_at = time.monotonic()
    while (key := pair.opens_conversation()) is None:
        assert time.monotonic() - moved_at < HEALS_WITHIN_S
    assert time.monotonic() - moved_at < HEALS_WITHIN_S

    # The old primary still answers on the connections that were opened to it; a reader must not stay there.
    give_up_at = time.monotonic() + HEALS_WITHIN_S
    while pair.installation.ask("GET", f"/conversations/{key}/")[0] != 200:
        assert time.monotonic() < give_up_at
    while not pair.is_ready():
        assert time.monotonic() < give_up_at


def test_a_stream_survives_a_promotion_that_loses_transactions(pair: Pair) -> None:
    """The standby lacks the last five. Their positions are given again, to others: what the stream has told is told
    again, up to a minute of it, and nothing that is stored is missed."""

    def opened(count: int) -> list[str]:
        keys: list[str] = []
        give_up_at = time.monotonic() + PATIENCE_S
        while len(keys) < count:
            assert time.monotonic() < give_up_at
            if (key := pair.opens_conversation()) is not None:
                keys.append(key)
        return keys

    while pair.installation.ask("GET", "/changes/")[0] != 200:
        time.sleep(0.1)
    with closing(connect(pair.first.url, "test")) as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE changes SET at = at - interval '1 hour'")  # else the minute goes back to before the feed
        connection.commit()
    with EventStream(pair.installation.intake.url, "after=oldest") as stream:
        kept = opened(5)
        assert [each.data["conversation_id"] for each in stream.take(5)] == kept
        time.sleep(1)  # until the standby has them, and their positions
        pair.second.stop()
        lost = opened(5)
        assert [each.data["conversation_id"] for each in stream.take(5)] == lost
        pair.first.kill()
        pair.second.start()
        pair.second.promote()
        pair.address.target = pair.second.port
        new = opened(8)
        told: list[Sent] = []
        while not set(new) <= {each.data["conversation_id"] for each in told}:
            told += stream.take(1)
        again = [each.data["conversation_id"] for each in told if each.data["conversation_id"] not in new]
        assert again == kept, "told again, in their order; what was lost is told no more"
        assert [each.data["conversation_id"] for each in told if each.data["conversation_id"] in new] == new
        page = pair.installation.ask("GET", "/conversations/?order=id")[1]
        assert {each["id"] for each in page["items"]} == {*kept, *new}


def test_a_first_host_that_hangs_does_not_keep_services_from_the_second(pair: Pair, tmp_path: Path) -> None:
    """It takes the connection and never answers, as a frozen server does."""
    (tmp_path / "more").mkdir()
    first = pair.first
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        url = first.url.replace(f":{first.port}/", f":{port},127.0.0.1:{first.port}/")
        environment = environment_of(first, None, tmp_path / "more") | {
            "DATABASE_URL": url,
            "TRANSPORT_URL": pair.installation.broker.url,
            "PORT": str(free_port()),
        }
        with Service(["conversations"], environment, tmp_path / "hanging-host.log") as service:
            service.wait_ready()


def test_a_url_of_both_servers_finds_the_one_that_takes_writes(pair: Pair, tmp_path: Path) -> None:
    pair.switch_over()
    first, second = pair.first, pair.second
    url = first.url.replace(f":{first.port}/", f":{first.port},127.0.0.1:{second.port}/")
    (tmp_path / "more").mkdir()
    environment = environment_of(first, None, tmp_path / "more") | {
        "DATABASE_URL": f"{url}?target_session_attrs=read-write",
        "TRANSPORT_URL": pair.installation.broker.url,
        "PORT": str(free_port()),
    }
    with Service(["conversations"], environment, tmp_path / "several-hosts.log") as service:
        service.wait_ready()
