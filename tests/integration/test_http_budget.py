"""The budget of bytes of the HTTP server, over real sockets: what it holds, who waits, who is given up."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from http_server import Server, Start, eventually, starting, wait_for_workers
from raw_http import CHUNKED, RawConnection, get, post

MIB = 1_048_576
BUDGET = {"HTTP_BUDGET_BYTES": 4 * MIB, "HTTP_MAX_BODY_BYTES": MIB, "HTTP_READ_TIMEOUT_S": 60}
HALF_SENT = post("/echo/", b"x" * 900_000)[:-1000]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as start:
        yield start


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def send_half(server: Server, clients: ExitStack, count: int, half: bytes = HALF_SENT) -> list[RawConnection]:
    """So many clients that send no more than this; as much of it as the server takes."""
    assert server.ask(post("/echo/", b"awake")).status == 200
    opened = [clients.enter_context(server.connect(timeout_s=20)) for _ in range(count)]
    for client in opened:
        client.send_what_fits(half)
    return opened


def rss(server: Server) -> int:
    size: int = psutil.Process(server.process.pid).memory_info().rss
    return size


def held(server: Server) -> float:
    text = server.ask(get("/metrics")).body.decode()
    return float(re.findall(r"^realmate_http_held_bytes (.*)$", text, re.MULTILINE)[0])


@pytest.mark.parametrize("half", [HALF_SENT, post("/echo/", b"1\r\nx\r\n", CHUNKED)], ids=["long", "in chunks"])
def test_half_sent_bodies_are_held_up_to_the_budget_and_keep_no_ordinary_event_out(
    start: Start, clients: ExitStack, half: bytes
) -> None:
    server = start("echo", **BUDGET)
    before = rss(server)
    send_half(server, clients, 60, half)
    for number in range(20):
        assert server.ask(post("/echo/", b"%d" % number)).body == b"%d" % number
    assert server.ask(get("/readyz")).status == 200
    assert rss(server) - before < 16 * MIB


def test_who_sends_a_large_body_gets_in_soon_although_others_hold_all_the_room(
    start: Start, clients: ExitStack
) -> None:
    server = start("echo", **BUDGET)
    half_sent = send_half(server, clients, 3)
    eventually(lambda: held(server) > 2_600_000)
    began = time.monotonic()
    answer = server.ask(post("/echo/", b"y" * 800_000))
    assert (answer.status, len(answer.body)) == (200, 800_000)
    assert time.monotonic() - began < 10
    given_up = [client.read() for client in half_sent if client.has_answer()]
    assert {(answer.status, answer.headers["retry-after"]) for answer in given_up} == {(503, "1")}


def test_many_large_bodies_at_once_are_read_one_after_the_other_and_none_is_rejected(start: Start) -> None:
    server = start("echo", **BUDGET)
    before = rss(server)
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(server.ask, [post("/echo/", b"%03d" % n * 300_000) for n in range(40)]))
    assert [answer.status for answer in answers] == [200] * 40
    assert all(answer.body == b"%03d" % n * 300_000 for n, answer in enumerate(answers))
    assert rss(server) - before < 30 * MIB


def test_who_waits_for_room_in_vain_gets_503_and_no_408(start: Start) -> None:
    server = start("echo", "trouble", **BUDGET | {"HTTP_READ_TIMEOUT_S": 2, "COMMAND_TIMEOUT_S": 30})
    with ThreadPoolExecutor(5) as pool:
        body = b"9" + b" " * 900_000
        at_work = [pool.submit(server.ask, post("/slow/", body)) for _ in range(3)]
        wait_for_workers(server, 3)
        answer = server.ask(post("/echo/", b"x" * 900_000))
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert b'rejected_total{reason="no_room"} 1.0' in server.ask(get("/metrics")).body
        assert at_work[0].result().status == 200


def test_a_sender_is_asked_for_its_body_when_there_is_room(start: Start, clients: ExitStack) -> None:
    server = start("echo", **BUDGET)
    send_half(server, clients, 3)
    eventually(lambda: held(server) > 2_600_000)
    head = f"POST /echo/ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: {MIB}\r\n\r\n".encode()
    with server.connect() as client:
        client.send(head)
        time.sleep(0.1)
        assert not client.has_answer()
        assert client.read().status == 100  # the others are given up in the end
        assert client.ask(b"z" * MIB).status == 200


def test_answers_that_nobody_reads_are_part_of_the_budget(start: Start, clients: ExitStack) -> None:
    server = start("echo", **BUDGET)
    before = rss(server)
    for _ in range(40):
        client = clients.enter_context(server.connect(receive_buffer=4096))
        client.send_what_fits(post("/echo/", b"x" * 900_000))
    eventually(lambda: b'rejected_total{reason="slow_reader"}' in server.ask(get("/metrics")).body, 30)
    assert server.ask(post("/echo/", b"still")).body == b"still"
    assert rss(server) - before < 30 * MIB


def test_heads_without_end_and_pipelined_requests_are_part_of_the_budget(start: Start, clients: ExitStack) -> None:
    server = start("echo", "trouble", **BUDGET | {"HTTP_BATCHES_IN_FLIGHT": 1})
    before = rss(server)
    send_half(server, clients, 300, b"GET /echo/ HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 16_000)
    send_half(server, clients, 100, post("/slow/", b"5") + post("/echo/", b"x" * 6000) * 20)
    time.sleep(1)
    assert rss(server) - before < 30 * MIB
    eventually(lambda: server.ask(post("/echo/", b"x")).status == 200, 30)


def test_a_batch_is_no_larger_than_it_may_be_in_bytes(start: Start) -> None:
    server = start("trouble", HTTP_BATCHES_IN_FLIGHT=1, HTTP_MAX_BATCH_BYTES=250_000)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(server.ask, post("/slow/", b"2"))
        wait_for_workers(server, 1)
        others = [pool.submit(server.ask, post("/slow/", b"0" + b" " * size)) for size in [99_999] * 4 + [255_000]]
        sizes = sorted(other.result().json()["batch"] for other in others)
        assert sizes in ([1, 2, 2, 2, 2], [1, 1, 1, 2, 2])  # the largest goes alone, wherever it stood
        assert first.result().status == 200


def test_a_client_that_goes_gives_its_room_back(start: Start) -> None:
    server = start("echo", **BUDGET)
    for _ in range(5):
        with ExitStack() as stack:
            for client in send_half(server, stack, 4):
                client.reset()
        assert server.ask(post("/echo/", b"x" * MIB)).status == 200
    eventually(lambda: held(server) < 10_000)
