"""Replies from a source's own responder: a real HTTP server, which may be slow, wrong, away, or asked by the dying."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from standardwebhooks.webhooks import Webhook

from installation import Installation, event, start_installation
from realmate.local.ports import free_port
from signatures import SECRET

PATIENCE_S = 30
SOURCES = f"""
[sources.asking]
grouping = {{ window_s = 0.3 }}

[sources.asking.reply]
kind = "http"
url = "http://127.0.0.1:PORT/reply?for=asking"
secrets = [{{ value = "{SECRET}" }}]
timeout_s = 2
retry_for_s = 8
concurrency = 2
allow_private = true

[sources.fallen]
grouping = {{ window_s = 0.3 }}

[sources.fallen.reply]
kind = "http"
url = "http://127.0.0.1:1/nobody"
secrets = [{{ value = "{SECRET}" }}]
timeout_s = 2
retry_for_s = 1
fallback = "Um momento, por favor."
allow_private = true

[sources.forbidden]
grouping = {{ window_s = 0.3 }}

[sources.forbidden.reply]
kind = "http"
url = "https://localhost:PORT/"
secrets = [{{ value = "{SECRET}" }}]

[sources.plain]
grouping = {{ window_s = 0.3 }}
"""
Reply = tuple[int, bytes]


class Responder(ThreadingHTTPServer):
    """Answers what the test says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", free_port()), _Handler)
        self.answer: Callable[[dict[str, Any]], Reply] = lambda _: (200, b'{"content": "Oi!"}')
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.at_once = 0
        self.most_at_once = 0


class _Handler(BaseHTTPRequestHandler):
    server: Responder

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Webhook(SECRET).verify(body, headers)
        self.server.requests.append((headers, asked))
        self.server.at_once += 1
        self.server.most_at_once = max(self.server.at_once, self.server.most_at_once)
        try:
            status, content = self.server.answer(asked)
        finally:
            self.server.at_once -= 1
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Responder]:
    responder = Responder()
    thread = threading.Thread(target=responder.serve_forever)
    thread.start()
    try:
        yield responder
    finally:
        responder.shutdown()
        responder.server_close()
        thread.join()


@pytest.fixture(scope="module")
def responder() -> Iterator[Responder]:
    with serving() as responder:
        yield responder


@pytest.fixture(scope="module")
def installation(responder: Responder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    directory = tmp_path_factory.mktemp("responders")
    path = directory / "sources.toml"
    path.write_text(SOURCES.replace("PORT", str(responder.server_port)))
    with start_installation(directory, SOURCES_FILE=str(path)) as installation:
        yield installation


@pytest.fixture(autouse=True)
def as_ever(responder: Responder) -> Iterator[None]:
    before = responder.answer
    responder.requests.clear()
    responder.most_at_once = 0
    yield
    responder.answer = before


def opened(installation: Installation, source: str) -> str:
    key = str(uuid4())
    status, _ = installation.ask("POST", f"/webhook/{source}/", event("NEW_CONVERSATION", id=key))
    assert status == 201
    return key


def said(installation: Installation, source: str, conversation_id: str, content: str = "Oi") -> str:
    message_id = str(uuid4())
    message = event("NEW_MESSAGE", id=message_id, content=content, conversation_id=conversation_id)
    assert installation.ask("POST", f"/webhook/{source}/", message)[0] == 202
    return message_id


def replies(installation: Installation, conversation_id: str) -> list[str]:
    status, view = installation.ask("GET", f"/conversations/{conversation_id}/")
    assert status == 200
    return [message["content"] for message in view["messages"] if message["type"] == "OUTBOUND"]


def eventually(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def test_a_group_is_posted_signed_and_its_answer_is_the_reply(installation: Installation, responder: Responder) -> None:
    key = opened(installation, "asking")
    ids = [said(installation, "asking", key, "Olá"), said(installation, "asking", key, "Tudo bem?")]
    eventually(lambda: replies(installation, key) == ["Oi!"])
    [(headers, asked)] = responder.requests
    assert headers["content-type"] == "application/json"
    assert headers["host"] == f"127.0.0.1:{responder.server_port}"
    assert asked["type"] == "REPLY_WANTED"
    assert asked["data"]["conversation_id"] == key
    assert [(it["id"], it["content"]) for it in asked["data"]["messages"]] == [(ids[0], "Olá"), (ids[1], "Tudo bem?")]


def test_of_a_large_group_the_newest_messages_are_posted(installation: Installation, responder: Responder) -> None:
    key = opened(installation, "asking")
    ids = [said(installation, "asking", key, "x" * 60_000) for _ in range(7)]
    eventually(
        lambda: len(responder.requests) > 0 and responder.requests[-1][1]["data"]["messages"][-1]["id"] == ids[-1]
    )
    groups = [asked["data"] for _, asked in responder.requests]
    assert sum(len(group["messages"]) + group["omitted"] for group in groups) == 7
    assert all(len(group["messages"]) <= 4 for group in groups)
    assert sum(group["omitted"] for group in groups) > 0


def test_each_group_has_its_own_reply_also_after_the_close(installation: Installation, responder: Responder) -> None:
    responder.answer = lambda asked: (200, json.dumps({"content": asked["data"]["messages"][0]["content"]}).encode())
    key = opened(installation, "asking")
    said(installation, "asking", key, "um")
    eventually(lambda: replies(installation, key) == ["um"])
    said(installation, "asking", key, "dois")
    assert installation.ask("POST", "/webhook/asking/", event("CLOSE_CONVERSATION", id=key))[0] == 200
    eventually(lambda: replies(installation, key) == ["um", "dois"])


def test_a_failure_is_tried_again_under_the_same_id(installation: Installation, responder: Responder) -> None:
    answers = iter([(503, b""), (429, b""), (200, b'{"content": "at last"}')])
    responder.answer = lambda _: next(answers)
    key = opened(installation, "asking")
    said(installation, "asking", key)
    eventually(lambda: replies(installation, key) == ["at last"])
    assert len({headers["webhook-id"] for headers, _ in responder.requests}) == 1
    assert len(responder.requests) == 3


@pytest.mark.parametrize(
    "answer",
    [(400, b""), (302, b""), (200, b""), (200, b"Oi!"), (200, b'{"content": ""}'), (200, b'{"content": "\\u0000"}')],
)
def test_what_is_no_reply_leaves_the_ids(installation: Installation, responder: Responder, answer: Reply) -> None:
    responder.answer = lambda _: answer
    key = opened(installation, "asking")
    message_id = said(installation, "asking", key)
    eventually(lambda: replies(installation, key) == [f"Mensagens recebidas:\n{message_id}"])
    assert len(responder.requests) == 1


def test_nobody_there_leaves_the_fallback(installation: Installation) -> None:
    key = opened(installation, "fallen")
    said(installation, "fallen", key)
    eventually(lambda: replies(installation, key) == ["Um momento, por favor."])


def test_a_private_address_is_not_called_unless_allowed(installation: Installation, responder: Responder) -> None:
    key = opened(installation, "forbidden")
    message_id = said(installation, "forbidden", key)
    eventually(lambda: replies(installation, key) == [f"Mensagens recebidas:\n{message_id}"])
    assert responder.requests == []


def test_a_hanging_responder_delays_its_own_source_alone(installation: Installation, responder: Responder) -> None:
    released = threading.Event()

    def hang(_: object) -> Reply:
        released.wait(PATIENCE_S)
        return 200, b'{"content": "late"}'

    responder.answer = hang
    asking = [opened(installation, "asking") for _ in range(8)]
    for key in asking:
        said(installation, "asking", key)
    eventually(lambda: responder.at_once == 4)  # two processes, two calls each
    plain = opened(installation, "plain")
    began = time.monotonic()
    message_id = said(installation, "plain", plain)
    eventually(lambda: replies(installation, plain) == [f"Mensagens recebidas:\n{message_id}"])
    assert time.monotonic() - began < 5
    released.set()
    eventually(lambda: all(len(replies(installation, key)) == 1 for key in asking))
    assert responder.most_at_once <= 6  # a call that timed out here may still hang there


def test_whoever_dies_in_a_call_there_is_one_reply(responder: Responder, tmp_path: Path) -> None:
    """Both conversations services are killed while the responder has the group, and after it has answered."""
    asked = threading.Event()
    path = tmp_path / "sources.toml"
    path.write_text(SOURCES.replace("PORT", str(responder.server_port)).replace("retry_for_s = 8", "retry_for_s = 60"))

    def slow(_: object) -> Reply:
        asked.set()
        time.sleep(0.5)
        return 200, b'{"content": "once"}'

    responder.answer = slow
    with start_installation(tmp_path, SOURCES_FILE=str(path)) as installation:
        keys = [opened(installation, "asking") for _ in range(4)]
        for key in keys:
            said(installation, "asking", key)
        for number in range(4):
            asked.clear()
            asked.wait(10)
            time.sleep(0.15 * number)  # before the answer, while it comes, after it
            for service in installation.state:
                service.kill()
            for service in installation.state:
                service.start()
        eventually(lambda: all(replies(installation, key) == ["once"] for key in keys))
        time.sleep(1)
        assert all(replies(installation, key) == ["once"] for key in keys)
    assert len(responder.requests) > len(keys)
