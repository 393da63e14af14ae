"""The HTTP server over real sockets, with the services of http_services.py behind it, in a process of their own."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from http_server import HERE, Server, Start, eventually, starting, wait_for_workers
from raw_http import Answer, get, post


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with starting(tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with default settings that tests share."""
    shared = Server(tmp_path_factory.mktemp("http") / "log", "echo", "trouble", "quiet")
    yield shared
    assert shared.stop() == 0


class TestRouting:
    def test_a_template_gives_its_last_segment_with_and_without_the_slash(self, server: Server) -> None:
        for path in ("/things/a%20b", "/things/a%20b/", "/things/a%20b/?x=%31"):
            assert server.ask(get(path)).json()["param"] == "a b"

    def test_services_of_one_process_share_one_port(self, server: Server) -> None:
        assert server.ask(post("/echo/", b"x")).status == 200
        assert server.ask(post("/slow/", b"0")).status == 200
        assert server.ask(get("/readyz")).status == 200

    @pytest.mark.parametrize("path", ["/", "/nothing", "/things", "/things/a/b", "/echo/x", "//echo/"])
    def test_an_unknown_path_is_a_404_problem(self, server: Server, path: str) -> None:
        answer = server.ask(get(path))
        assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")

    def test_a_wrong_method_is_a_405_that_names_the_right_ones(self, server: Server) -> None:
        rejected = server.ask(get("/echo/"))
        assert (rejected.status, rejected.headers["allow"]) == (405, "POST")
        rejected = server.ask(post("/things/1"))
        assert (rejected.status, rejected.headers["allow"]) == (405, "GET, HEAD")

    @pytest.mark.parametrize("path", ["/things/1", "/healthz", "/nothing"])
    def test_head_is_answered_like_get_without_the_body(self, server: Server, path: str) -> None:
        with server.connect() as client:
            whole = client.ask(get(path, "X-Request-Id: i\r\n"))
            client.send(get(path, "X-Request-Id: i\r\n", method="HEAD"))
            head = client.read(with_body=False)
            assert client.ask(post("/echo/", b"next")).body == b"next"
        assert head.status == whole.status
        if "/things/" not in path:  # that one tells the method in its body
            assert head.headers["content-length"] == whole.headers["content-length"]

    def test_metrics_count_requests_by_route_and_status(self, server: Server) -> None:
        server.ask(get("/things/abc"))
        text = server.ask(get("/metrics")).body.decode()
        assert 'realmate_http_requests_total{route="/things/{id}/",status="200"}' in text
        assert 'realmate_http_batch_requests_count{route="/things/{id}/"}' in text
        assert "realmate_http_connections 1.0" in text


class TestAnswers:
    def test_carry_the_request_id_and_a_date(self, server: Server) -> None:
        answer = server.ask(post("/describe/", headers="X-Request-Id: abc-1\r\n"))
        assert answer.headers["x-request-id"] == answer.json()["request_id"] == "abc-1"
        assert answer.headers["date"].endswith(" GMT")

    def test_of_one_connection_come_in_order_and_one_after_the_other(self, server: Server) -> None:
        with server.connect() as client:
            client.send(post("/slow/", b"0.2") + post("/echo/", b"second") + post("/echo/", b"third"))
            answers = [client.read() for _ in range(3)]
        assert [answer.body for answer in answers[1:]] == [b"second", b"third"]
        assert answers[0].json()["body"] == "0.2"

    def test_to_a_thousand_pipelined_requests_all_come(self, server: Server) -> None:
        with server.connect() as client, ThreadPoolExecutor() as pool:
            sending = pool.submit(client.send, b"".join(post("/echo/", b"%d" % n) for n in range(1000)))
            assert [int(client.read().body) for _ in range(1000)] == list(range(1000))
            sending.result()

    def test_in_http_1_0_close_unless_asked_to_keep_alive(self, server: Server) -> None:
        with server.connect() as client:
            kept = client.ask(b"GET /things/1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert kept.headers["connection"] == "keep-alive"
            last = client.ask(b"GET /things/1 HTTP/1.0\r\n\r\n")
            assert last.headers["connection"] == "close"
            assert client.ends()

    def test_reach_a_client_that_has_stopped_sending(self, server: Server) -> None:
        with server.connect() as client:
            client.send(post("/slow/", b"0.1"))
            client.stop_sending()
            assert client.read().status == 200
            assert client.ends()

    def test_of_megabytes_reach_a_slow_reader_whole_while_others_are_served(self, server: Server) -> None:
        with server.connect(receive_buffer=4096) as slow:
            slow.send(get("/big/2000000") + post("/echo/", b"after"))
            for _ in range(20):
                assert server.ask(post("/echo/", b"x")).status == 200
            assert len(slow.read().body) == 2_000_000
            assert slow.read().body == b"after"

    def test_100_continue_comes_when_it_is_the_requests_turn(self, server: Server) -> None:
        with server.connect() as client:
            client.send(post("/slow/", b"0.2"))
            client.send(b"POST /echo/ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            assert [client.read().status, client.read().status] == [200, 100]
            assert client.ask(b"hi").body == b"hi"

    def test_to_a_rejected_body_comes_at_once_and_what_is_still_sent_does_no_harm(self, server: Server) -> None:
        with server.connect() as client:
            answer = client.ask(b"POST /echo/ HTTP/1.1\r\nHost: h\r\nContent-Length: 9000000\r\n\r\n" + b"x" * 1000)
            assert (answer.status, answer.headers["connection"]) == (413, "close")
            for _ in range(3):
                client.send(b"x" * 10_000)  # to a server that just closed, the second of these would fail
                time.sleep(0.05)
            assert client.ends()


class TestBatches:
    def test_what_waits_while_workers_are_busy_leaves_together(self, start: Start) -> None:
        server = start("trouble", HTTP_BATCHES_IN_FLIGHT=1)
        with ThreadPoolExecutor(9) as pool:
            first = pool.submit(server.ask, post("/slow/", b"2"))
            wait_for_workers(server, 1)
            others = [pool.submit(server.ask, post("/slow/", b"0")) for _ in range(8)]
            assert first.result().json()["batch"] == 1
            assert [other.result().json()["batch"] for other in others] == [8] * 8

    def test_are_no_larger_than_they_may_be(self, start: Start) -> None:
        server = start("trouble", HTTP_BATCHES_IN_FLIGHT=1, HTTP_MAX_BATCH=3)
        with ThreadPoolExecutor(8) as pool:
            first = pool.submit(server.ask, post("/slow/", b"2"))
            wait_for_workers(server, 1)
            others = [pool.submit(server.ask, post("/slow/", b"0")) for _ in range(7)]
            assert sorted(other.result().json()["batch"] for other in others) == [1, 3, 3, 3, 3, 3, 3]
            first.result()

    def test_that_cannot_wait_are_turned_away_at_once(self, start: Start) -> None:
        server = start("trouble", HTTP_BATCHES_IN_FLIGHT=1, HTTP_MAX_BATCH=1, HTTP_QUEUE=2)
        with ThreadPoolExecutor(8) as pool:
            first = pool.submit(server.ask, post("/slow/", b"2"))
            wait_for_workers(server, 1)
            answers = [job.result() for job in [pool.submit(server.ask, post("/slow/", b"0")) for _ in range(6)]]
            assert first.result().status == 200
        assert sorted(answer.status for answer in answers) == [200, 200, 503, 503, 503, 503]
        assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status == 503)

    @pytest.mark.parametrize("path", ["/raise/", "/short/", "/timeout/", "/unsendable/"])
    def test_whose_worker_fails_are_answered_503_revealing_nothing(self, server: Server, path: str) -> None:
        with server.connect() as client:
            answer = client.ask(post(path))
            assert (answer.status, answer.json()["code"]) == (503, "unavailable")
            assert b"secret" not in answer.body
            assert "x-injected" not in answer.headers
            assert client.ask(post("/echo/", b"still here")).body == b"still here"

    def test_that_failed_are_in_the_log_with_their_request_ids_and_the_reason(self, server: Server) -> None:
        server.ask(post("/raise/", headers="X-Request-Id: failed-1\r\n"))
        [line] = [line for line in server.log_lines("batch failed") if line["request_ids"] == ["failed-1"]]
        assert "a secret about 1 requests" in json.dumps(line)

    def test_health_answers_while_every_worker_is_busy(self, start: Start) -> None:
        server = start("trouble", HTTP_BATCHES_IN_FLIGHT=1, HTTP_QUEUE=1)
        with ThreadPoolExecutor(2) as pool:
            busy = pool.submit(server.ask, post("/slow/", b"3"))
            wait_for_workers(server, 1)
            for path in ("/healthz", "/readyz", "/metrics"):
                assert server.ask(get(path)).status == 200
            assert not busy.done()


class TestTimeLimits:
    @pytest.mark.parametrize(
        "beginning",
        [b"P", b"POST /echo/ HTTP/1.1\r\nHo", b"POST /echo/ HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nx"],
    )
    def test_a_request_that_comes_too_slowly_gets_408(self, start: Start, beginning: bytes) -> None:
        server = start("echo", HTTP_READ_TIMEOUT_S=0.5)
        with server.connect() as client:
            client.send(beginning)
            answer = client.read()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert client.ends()

    def test_a_byte_now_and_then_does_not_buy_time(self, start: Start) -> None:
        server = start("echo", HTTP_READ_TIMEOUT_S=0.5)
        with server.connect(timeout_s=0.1) as client:

            def drip() -> Answer | None:
                client.send(b"x")
                try:
                    return client.read()
                except TimeoutError:
                    return None

            client.send(b"GET / HTTP/1.1\r\nX: ")
            answers = (drip() for _ in range(100))
            assert next(answer.status for answer in answers if answer) == 408

    def test_an_answer_under_way_comes_before_the_408_of_the_next_request(self, start: Start) -> None:
        server = start("trouble", HTTP_READ_TIMEOUT_S=0.3)
        with server.connect() as client:
            client.send(post("/slow/", b"1.2") + b"POST /slow/ HT")
            assert [client.read().status, client.read().status] == [200, 408]

    def test_an_idle_connection_is_closed_in_the_end(self, start: Start) -> None:
        server = start("echo", HTTP_IDLE_TIMEOUT_S=0.5)
        with server.connect() as fresh, server.connect() as used:
            assert used.ask(post("/echo/", b"x")).status == 200
            assert fresh.ends()
            assert used.ends()

    def test_work_is_not_idleness(self, start: Start) -> None:
        server = start("trouble", HTTP_IDLE_TIMEOUT_S=0.3, HTTP_READ_TIMEOUT_S=0.3)
        assert server.ask(post("/slow/", b"1.5")).status == 200

    def test_a_client_that_does_not_read_its_answer_is_dropped(self, start: Start) -> None:
        server = start("echo", HTTP_READ_TIMEOUT_S=0.5)
        with server.connect(receive_buffer=4096) as client:
            client.send(get("/big/8000000"))
            eventually(lambda: b'rejected_total{reason="slow_reader"} 1.0' in server.ask(get("/metrics")).body)
            with pytest.raises((EOFError, ConnectionError)):
                client.read()


def test_connections_beyond_the_limit_get_503_and_room_is_made_when_one_goes(start: Start) -> None:
    server = start("echo", HTTP_MAX_CONNECTIONS=2)
    with server.connect() as first:
        assert first.ask(post("/echo/", b"1")).status == 200
        with server.connect() as second, server.connect() as third:
            assert second.ask(post("/echo/", b"2")).status == 200
            rejected = third.ask(post("/echo/", b"3"))
            assert (rejected.status, rejected.headers["connection"]) == (503, "close")
            assert third.ends()
        eventually(lambda: server.ask(post("/echo/", b"4")).status == 200)
        assert first.ask(post("/echo/", b"5")).status == 200


def test_when_descriptors_run_out_the_connected_are_served_and_the_others_later(start: Start) -> None:
    server = start("echo")
    with ExitStack() as connections:
        first = connections.enter_context(server.connect())
        assert first.ask(post("/echo/", b"1")).status == 200
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (40, 40))
        for _ in range(60):
            connections.enter_context(server.connect())
        eventually(lambda: server.log_lines("cannot accept"))
        assert first.ask(post("/echo/", b"2")).status == 200
    assert server.ask(post("/echo/", b"3")).status == 200


def test_a_taken_port_ends_the_process_with_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = subprocess.run(
            [sys.executable, "-W", "ignore", HERE / "http_process.py", "echo", "quiet"],
            env=os.environ | {"PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=tmp_path,
        )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == f"port {port} is taken; choose another with PORT=…"
