"""Who gets in when all places are taken: probes, healthy newcomers, other addresses."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from http_server import Server, Start, eventually, starting
from raw_http import RawConnection, get, post
from realmate.local.ports import free_port


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as start:
        yield start


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect_many(server: Server, clients: ExitStack, count: int, sent: bytes = b"") -> list[RawConnection]:
    opened = [clients.enter_context(server.connect()) for _ in range(count)]
    for client in opened:
        client.send(sent)
    return opened


def test_probes_are_answered_on_both_ports_when_all_places_are_taken(start: Start, clients: ExitStack) -> None:
    admin_port = free_port()
    server = start("trouble", HTTP_MAX_CONNECTIONS=20, HTTP_MAX_CONNECTIONS_PER_PEER=20, ADMIN_PORT=admin_port)
    connect_many(server, clients, 20, post("/slow/", b"10"))
    for path in ("/healthz", "/readyz"):
        for port in (server.address[1], admin_port):
            with RawConnection(("127.0.0.1", port), timeout_s=5) as probe:
                assert probe.ask(get(path)).status == 200
    rejected = server.ask(post("/slow/", b"0"))
    assert (rejected.status, rejected.headers["connection"]) == (503, "close")


def test_a_probe_gets_in_among_many_who_are_turned_away(start: Start, clients: ExitStack) -> None:
    server = start("trouble", HTTP_MAX_CONNECTIONS=5, HTTP_MAX_CONNECTIONS_PER_PEER=5)
    connect_many(server, clients, 5, post("/slow/", b"10"))
    connect_many(server, clients, 200)
    assert server.ask(get("/healthz")).status == 200


@pytest.mark.parametrize("sent", [b"", get("/things/1"), b"GET / HT"], ids=["nothing", "a request", "half of one"])
def test_who_has_been_idle_or_slow_for_longest_goes_for_a_newcomer(
    start: Start, clients: ExitStack, sent: bytes
) -> None:
    server = start("echo", HTTP_MAX_CONNECTIONS=30, HTTP_MAX_CONNECTIONS_PER_PEER=30)
    connect_many(server, clients, 30, sent)
    time.sleep(2.5)
    newcomers = [clients.enter_context(server.connect()) for _ in range(3)]
    assert [client.ask(post("/echo/", b"x")).status for client in newcomers] == [200] * 3
    assert [client.ask(post("/echo/", b"y")).status for client in newcomers] == [200] * 3


def test_one_address_cannot_take_all_places(start: Start, clients: ExitStack) -> None:
    server = start("trouble", HTTP_MAX_CONNECTIONS=20)
    connect_many(server, clients, 25, post("/slow/", b"10"))
    assert server.ask(post("/slow/", b"0")).status == 503
    with socket.create_connection(server.address, timeout=10, source_address=("127.0.0.2", 0)) as other:
        other.sendall(post("/slow/", b"0"))
        assert other.recv(100).startswith(b"HTTP/1.1 200 ")


def test_descriptors_are_kept_for_probes_when_there_are_fewer_than_connections(
    start: Start, clients: ExitStack
) -> None:
    admin_port = free_port()
    server = start("trouble", ADMIN_PORT=admin_port, descriptors=60)
    [line] = server.warnings("fewer connections than HTTP_MAX_CONNECTIONS")
    assert line["connections"] == 30
    connect_many(server, clients, 100)
    for port in (server.address[1], admin_port):
        with RawConnection(("127.0.0.1", port), timeout_s=10) as probe:
            assert probe.ask(get("/healthz")).status == 200


def test_the_admin_port_answers_when_no_descriptor_is_left(start: Start, clients: ExitStack) -> None:
    admin_port = free_port()
    server = start("trouble", ADMIN_PORT=admin_port)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (40, 40))
    connect_many(server, clients, 60)
    eventually(lambda: server.log_lines("cannot accept"))
    for _ in range(3):
        with RawConnection(("127.0.0.1", admin_port), timeout_s=5) as probe:
            assert probe.ask(get("/healthz")).status == 200
