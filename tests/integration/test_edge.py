"""The edge alone, in a real HAProxy: what it says when no replica is there, and what it never lets through.

What it does with replicas that stop and die is in test_rolling_restart.py.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from needed import require_program
from raw_http import RawConnection, get, post
from realmate.local.ports import free_port

EDGE = Path(__file__).parents[2] / "edge"
UNREACHABLE = """
backend webhook from edge
    server webhook-1 127.0.0.1:9
backend query from readers
    server query-1 127.0.0.1:9
"""
CONSOLE = """
backend console from operations
    http-request return status 200 content-type text/plain string console
"""
PATIENCE_S = 30.0


def haproxy(*arguments: str | Path, bind: str) -> subprocess.Popen[bytes]:
    program = require_program("haproxy", package="haproxy")
    return subprocess.Popen(
        [program, *arguments],
        env={**os.environ, "EDGE_BIND": bind},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


@contextmanager
def edge_before(servers: str, directory: Path) -> Iterator[int]:
    """Run an edge before these servers. Yields its port."""
    (directory / "servers.cfg").write_text(servers)
    chosen = free_port()
    edge = haproxy("-db", "-f", EDGE / "haproxy.cfg", "-f", directory / "servers.cfg", bind=f"127.0.0.1:{chosen}")
    assert edge.stdout
    first_line = edge.stdout.readline()
    assert edge.poll() is None, first_line
    yield chosen
    edge.terminate()
    edge.communicate(timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Yields the port of an edge whose services are all down."""
    with edge_before(UNREACHABLE, tmp_path_factory.mktemp("edge")) as chosen:
        yield chosen


@pytest.fixture
def wire(port: int) -> Iterator[RawConnection]:
    with RawConnection(("127.0.0.1", port), timeout_s=PATIENCE_S) as connection:
        yield connection


def test_its_configuration_for_containers_is_valid() -> None:
    check = haproxy("-c", "-f", EDGE / "haproxy.cfg", "-f", EDGE / "servers.cfg", bind="127.0.0.1:1")
    output, _ = check.communicate(timeout=PATIENCE_S)
    assert check.returncode == 0, output.decode()
    assert b"WARNING" not in output


@pytest.mark.parametrize("request_", [post("/webhook/", b"{}"), get("/conversations/x/")])
def test_without_a_replica_a_sender_is_asked_to_send_again(wire: RawConnection, request_: bytes) -> None:
    answer = wire.ask(request_)
    assert (answer.status, answer.code) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["content-type"] == "application/problem+json"


def test_it_is_alive_but_not_ready_and_says_what_fails(wire: RawConnection) -> None:
    assert wire.ask(get("/healthz")).status == 200
    answer = wire.ask(get("/readyz"))
    assert (answer.status, list(answer.json()["failing"])) == (503, ["webhook"])


@pytest.mark.parametrize(
    "path", ["/metrics", "/index", "/webhooks", "/conversation", "/consoles", "//webhook/", "/webhook/../metrics"]
)
def test_what_is_not_for_everyone_is_not_found(wire: RawConnection, path: str) -> None:
    answer = wire.ask(get(path))
    assert answer.status == (503 if path.startswith("/webhook/") else 404)


@pytest.mark.parametrize(
    "path", ["/", "/console", "/console/index.html", "/admin/replays/", "/docs/", "/%61dmin/audit/"]
)
def test_the_console_s_paths_lead_to_it_where_there_is_one(port: int, tmp_path: Path, path: str) -> None:
    with edge_before(UNREACHABLE + CONSOLE, tmp_path) as other:
        for asked, status in ((other, 200), (port, 503)):
            with RawConnection(("127.0.0.1", asked), timeout_s=PATIENCE_S) as wire:
                assert wire.ask(get(path)).status == status


def test_a_body_that_is_too_large_is_rejected_before_it_is_sent(wire: RawConnection) -> None:
    answer = wire.ask(b"POST /webhook/ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1048577\r\n\r\n")
    assert (answer.status, answer.code) == (413, "body_too_large")


def test_its_own_answers_carry_the_sender_s_request_id_or_a_new_one(wire: RawConnection) -> None:
    assert wire.ask(get("/nothing", "X-Request-Id: order-66/a:b\r\n")).headers["x-request-id"] == "order-66/a:b"
    assert wire.ask(get("/nothing", 'X-Request-Id: "; DROP\r\n')).headers["x-request-id"] != '"; DROP'
    assert wire.ask(get("/nothing")).headers["x-request-id"]
