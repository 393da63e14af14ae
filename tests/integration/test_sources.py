"""Sources in a running intake: who is taken, and how their file is followed without a failed request."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from installation import Answer, Installation, event, start_installation
from raw_http import RawConnection
from realmate.local.ports import free_port
from realmate.local.service import Service
from realmate.sources import tokens
from realmate.sources.signing import HubSignature
from realmate.sources.tokens import TokensFile
from signatures import OTHER_SECRET, SECRET, signature

SHOP = """
[sources.default]

[sources.shop]
max_body_bytes = 300

[sources.shop.signing]
scheme = "standard-webhooks"
secrets = [{ file = "shop.key" }]
"""
HUB = f"""
[sources.hub.signing]
scheme = "x-hub-signature-256"
secrets = [{{ value = "{SECRET}" }}]
"""
DOCUMENTATION = Path(__file__).parents[2] / "docs/sources.md"
PATIENCE_S = 20


@dataclass
class Sources:
    """An installation and its file of sources."""

    installation: Installation
    path: Path

    @property
    def log(self) -> str:
        return self.installation.intake.log.read_text()

    def write(self, content: str) -> None:
        """As an editor or Kubernetes does it: the whole new file takes the old one's place."""
        new = self.path.with_suffix(".new")
        new.write_text(content)
        new.replace(self.path)

    def send(self, path: str, body: bytes, headers: dict[str, str] | None = None) -> requests.Response:
        return requests.post(self.installation.intake.url + path, data=body, headers=headers, timeout=15)

    def post(self, path: str, body: object = None, *, secret: str | None = None) -> Answer:
        text = opening() if body is None else json.dumps(body).encode()
        response = self.send(path, text, None if secret is None else signature(text, secret=secret))
        return response.status_code, response.json()

    def ready(self) -> Answer:
        return self.installation.ask("GET", "/readyz")


def opening() -> bytes:
    return json.dumps(event("NEW_CONVERSATION", id=str(uuid4()))).encode()


def eventually(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sources]:
    directory = tmp_path_factory.mktemp("sources")
    path = directory / "sources.toml"
    path.write_text(SHOP)
    (directory / "shop.key").write_text(SECRET)
    with start_installation(directory, SOURCES_FILE=str(path)) as installation:
        yield Sources(installation, path)


@pytest.fixture
def sources(files: Sources) -> Iterator[Sources]:
    """With the file as it was at first, once more."""
    yield files
    files.write(SHOP)
    eventually(
        lambda: files.post("/webhook/shop/", secret=SECRET)[0] == 201 and files.ready()[1] == {"status": "ready"}
    )


def test_who_signs_is_taken_and_who_does_not_is_told(sources: Sources) -> None:
    assert sources.post("/webhook/")[0] == 201
    assert sources.post("/webhook/default/")[0] == 201
    assert sources.post("/webhook/shop/", secret=SECRET)[0] == 201
    for secret in (None, OTHER_SECRET):
        status, answer = sources.post("/webhook/shop/", secret=secret)
        assert (status, answer["code"]) == (401, "signature_invalid")


def test_a_source_of_no_file_is_not_found(sources: Sources) -> None:
    status, answer = sources.post("/webhook/nobody/", secret=SECRET)
    assert (status, answer["code"]) == (404, "source_not_found")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("nobody", "", 404),
        ("shop", "Content-Length: 262144\r\n", 413),
        ("shop", "Content-Length: 300\r\n", 401),
        ("shop", "Transfer-Encoding: chunked\r\n", 401),
        (
            "shop",
            "webhook-id: m\r\nwebhook-timestamp: 1700000000\r\nwebhook-signature: v1,x\r\nContent-Length: 9\r\n",
            401,
        ),
        ("later", "Content-Length: 70000\r\n", 503),
        ("default", "Content-Encoding: gzip\r\nContent-Length: 70000\r\n", 415),
    ],
)
def test_what_the_head_decides_is_answered_before_the_body_is_sent(
    sources: Sources, path: str, headers: str, status: int
) -> None:
    sources.write(SHOP + "[sources.later]\npaused = true\n")
    eventually(lambda: sources.post("/webhook/later/")[0] == 503)
    expects = "Content-Length: 70000\r\n" if "-Encoding" not in headers and "Length" not in headers else ""
    head = f"POST /webhook/{path}/ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n{headers}{expects}\r\n"
    with RawConnection(("127.0.0.1", sources.installation.intake.port), timeout_s=8) as client:
        assert client.ask(head.encode()).status == status
        assert client.ends()


def test_the_signature_is_looked_at_before_the_body(sources: Sources) -> None:
    assert sources.post("/webhook/shop/", {"type": "nonsense"})[0] == 401
    assert sources.post("/webhook/shop/", {"type": "nonsense"}, secret=SECRET)[0] == 400


def test_a_body_larger_than_its_source_may_send_is_rejected(sources: Sources) -> None:
    status, answer = sources.post("/webhook/shop/", {"type": "x" * 300}, secret=SECRET)
    assert (status, answer["code"]) == (413, "body_too_large")
    assert sources.post("/webhook/", {"type": "x" * 300})[0] == 400


def test_events_beyond_the_limit_are_told_when_to_come_again(sources: Sources) -> None:
    sources.write(SHOP + "[sources.meter.limit]\nevents_per_s = 0.01\nburst = 2")
    eventually(lambda: sources.post("/webhook/meter/")[0] == 201)
    response = sources.send("/webhook/meter/", opening())
    assert response.status_code == 201
    response = sources.send("/webhook/meter/", opening())
    assert response.status_code == 429
    assert 90 <= int(response.headers["Retry-After"]) <= 100
    assert response.headers["RateLimit-Policy"] == '"meter";q=2;w=200'
    assert re.fullmatch(r'"meter";r=0;t=(19\d|200)', response.headers["RateLimit"])
    assert metric(sources, 'realmate_webhook_limited_total{source="meter"}') == 1
    assert sources.post("/webhook/")[0] == 201


def test_a_conversation_is_its_source_s_own(sources: Sources) -> None:
    first = event("NEW_CONVERSATION", id=str(uuid4()))
    path = f"/conversations/{first['data']['id']}/"
    assert sources.post("/webhook/shop/", first, secret=SECRET)[0] == 201
    assert sources.installation.ask("GET", f"{path}?source=default")[0] == 404
    assert sources.post("/webhook/", first)[0] == 201
    closing = event("CLOSE_CONVERSATION", **first["data"])
    assert sources.post("/webhook/shop/", closing, secret=SECRET)[0] == 200
    status, answer = sources.installation.ask("GET", path)
    assert (status, answer["code"], answer["sources"]) == (409, "ambiguous_source", ["default", "shop"])
    assert "?source=default" in answer["detail"]
    found = [
        sources.installation.ask("GET", path + query)[1]["status"] for query in ("?source=shop", "?source=default")
    ]
    assert found == ["CLOSED", "OPEN"]
    assert sources.installation.ask("GET", f"{path}?source=nobody")[0] == 404


def test_a_request_sent_again_with_its_key_gets_its_first_answer(sources: Sources) -> None:
    first = opening()
    signed = signature(first)
    for _ in range(2):  # the very same request, as a sender tries again whose answer was lost
        assert sources.send("/webhook/shop/", first, signed).status_code == 201
    for name in ("webhook-id", "Idempotency-Key"):
        key = {name: str(uuid4())}
        body = opening()
        answers = [sources.send("/webhook/", body, key) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [201, 201]
        assert answers[0].content == answers[1].content
    answer = sources.send("/webhook/", opening(), {"Idempotency-Key": "k" * 256})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")


def test_beside_other_sources_nobody_sends_as_the_default_one(sources: Sources) -> None:
    sources.write(SHOP.replace("[sources.default]", ""))
    eventually(lambda: sources.post("/webhook/")[0] == 404)
    assert sources.post("/webhook/default/")[1]["code"] == "source_not_found"
    assert sources.post("/webhook/shop/", secret=SECRET)[0] == 201
    assert "POST /webhook/ is closed" in sources.log
    settings = os.environ | {"SOURCES_FILE": str(sources.path)}
    sending = [sys.executable, "-m", "realmate", "send", "--url", sources.installation.intake.url, "-"]
    sent = subprocess.run(sending, env=settings, input=opening().decode(), capture_output=True, text=True, check=False)
    assert (sent.returncode, "201" in sent.stdout) == (0, True)  # as the only source there is


def test_a_key_that_the_source_signed_fits_one_body(sources: Sources) -> None:
    key = str(uuid4())
    bodies = [opening(), opening()]
    answers = [sources.send("/webhook/shop/", body, signature(body, message_id=key)) for body in bodies]
    assert [answer.status_code for answer in answers] == [201, 400]
    assert answers[1].json()["code"] == "idempotency_mismatch"


@pytest.mark.parametrize("source", ["default", "hub"])
@pytest.mark.parametrize("header", ["webhook-id", "Idempotency-Key"])
def test_a_key_that_nobody_signed_is_used_up_for_no_other_body(sources: Sources, source: str, header: str) -> None:
    """A stranger sends a request that he overheard under the keys that the source's next events will have."""
    sources.write(SHOP + HUB)
    eventually(lambda: sources.post("/webhook/hub/")[0] == 401)

    def send(body: bytes, key: str) -> Any:
        answer = sources.send(f"/webhook/{source}/", body, HubSignature([SECRET]).sign(body, "", 0) | {header: key})
        return answer.json().get("code") or answer.json()["status"]

    overheard, closing = opening(), json.dumps(event("CLOSE_CONVERSATION", id=str(uuid4()))).encode()
    assert send(overheard, "1") == "created"
    assert [send(overheard, str(key)) for key in range(2, 6)] == ["conversation_exists"] * 4
    assert send(closing, "6") == "conversation_not_found"
    honest = [opening() for _ in range(6)]
    assert [send(body, str(key)) for key, body in enumerate(honest, start=1)] == ["created"] * 6
    assert [send(body, str(key)) for key, body in enumerate(honest, start=1)] == ["created"] * 6  # once more, as ever
    assert send(overheard, "1") == "created"


def test_a_change_is_followed_without_a_failed_request(sources: Sources) -> None:
    stop, statuses = threading.Event(), set[int]()

    def send() -> None:
        while not stop.is_set():
            statuses.add(sources.post("/webhook/shop/", secret=SECRET)[0])

    senders = [threading.Thread(target=send) for _ in range(3)]
    for sender in senders:
        sender.start()
    try:
        for number in range(3):
            sources.write(f"{SHOP}\n[sources.new{number}]")
            eventually(lambda: sources.post(f"/webhook/new{number}/")[0] == 201)  # noqa: B023 (called before the next)
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    assert statuses == {201}
    assert sources.post("/webhook/new0/")[0] == 404


def test_a_new_secret_is_taken_and_the_old_one_no_more(sources: Sources) -> None:
    key = sources.path.with_name("shop.key")
    key.write_text(OTHER_SECRET)
    eventually(lambda: sources.post("/webhook/shop/", secret=OTHER_SECRET)[0] == 201)
    assert sources.post("/webhook/shop/", secret=SECRET)[0] == 401
    key.write_text(SECRET)


def test_a_broken_file_changes_nothing_but_is_told_everywhere(sources: Sources) -> None:
    sources.write(SHOP.replace("max_body_bytes", "max_bytes"))
    eventually(lambda: "notes" in sources.ready()[1])
    status, answer = sources.ready()
    assert (status, answer["status"]) == (200, "ready")
    assert "sources" in answer["notes"]
    assert "sources.shop: Object contains unknown field `max_bytes`" in sources.log
    assert metric(sources, "realmate_sources_file_broken") == 1
    assert sources.post("/webhook/shop/", secret=SECRET)[0] == 201
    sources.write(SHOP)
    eventually(lambda: "notes" not in sources.ready()[1])
    eventually(lambda: metric(sources, "realmate_sources_file_broken") == 0)  # of every process that reads it


def test_a_paused_source_is_told_to_send_again_and_loses_nothing(sources: Sources) -> None:
    sources.write(SHOP.replace("[sources.shop]", "[sources.shop]\npaused = true"))
    body = opening()
    eventually(lambda: sources.post("/webhook/shop/", secret=SECRET)[0] == 503)
    answer = sources.send("/webhook/shop/", body, signature(body))
    assert (answer.headers["Retry-After"], answer.json()["code"]) == ("60", "unavailable")
    assert sources.post("/webhook/shop/")[0] == 401  # it tells only its own sender
    sources.write(SHOP)
    eventually(lambda: sources.send("/webhook/shop/", body, signature(body)).status_code == 201)


def test_readiness_tells_the_revision_that_is_read(sources: Sources) -> None:
    sources.write('revision = "one"\n' + SHOP)
    eventually(lambda: sources.ready() == (200, {"status": "ready", "revisions": {"sources": "one"}}))
    sources.write('revision = "two"\n' + SHOP.replace("max_body_bytes", "max_bytes"))
    eventually(lambda: "notes" in sources.ready()[1])
    assert sources.ready()[1]["revisions"] == {"sources": "one"}


def test_events_are_counted_by_their_source(sources: Sources) -> None:
    names = [
        f'realmate_webhook_events_total{{outcome="{outcome}",source="shop"}}' for outcome in ("accepted", "rejected")
    ]
    before = [metric(sources, name) for name in names]
    first = opening()
    for _ in range(2):  # the second is answered 400
        sources.send("/webhook/shop/", first, signature(first, message_id=str(uuid4())))
    sources.post("/webhook/shop/")  # of nobody knows whom
    assert [metric(sources, name) for name in names] == [before[0] + 1, before[1] + 1]


def test_rejected_signatures_are_counted_and_secrets_told_nowhere(sources: Sources) -> None:
    name = 'realmate_webhook_rejected_signatures_total{reason="missing",source="shop"}'
    before = metric(sources, name)
    sources.post("/webhook/shop/")
    assert metric(sources, name) == before + 1
    assert SECRET.removeprefix("whsec_") not in sources.log + exposed(sources)


def test_a_process_does_not_start_with_a_broken_file(tmp_path: Path, sources: Sources) -> None:
    broken = tmp_path / "sources.toml"
    broken.write_text("[sources.shop]\nspeed = 3")
    environment = {"SOURCES_FILE": str(broken), "REDIS_URL": sources.installation.broker.url, "PORT": "0", "PATH": ""}
    for command in (["run", "webhook"], ["up"]):
        run = subprocess.run(
            [sys.executable, "-m", "realmate", *command],
            env=environment | {"REALMATE_DATA_DIR": str(tmp_path / "data")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 1
        assert run.stderr == "Error: SOURCES_FILE: sources.shop: Object contains unknown field `speed`\n"


def exposed(sources: Sources) -> str:
    return requests.get(f"{sources.installation.intake.url}/metrics", timeout=15).text


def metric(sources: Sources, name: str) -> float:
    lines = [line for line in exposed(sources).splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return sum(float(line.rpartition(" ")[2]) for line in lines)


@pytest.mark.skipif(not (shutil.which("openssl") and shutil.which("curl")), reason="needs openssl and curl")
def test_the_documentation_s_lines_can_be_pasted(sources: Sources, tmp_path: Path) -> None:
    text = DOCUMENTATION.read_text()
    setup, *further = re.findall(r"```bash\n(.+?)```", text, re.DOTALL)
    of_sources: list[str] = []
    of_tokens: list[str] = []
    for block in re.findall(r"```toml\n(.+?)```", text, re.DOTALL):
        (of_tokens if block.startswith("[tokens") else of_sources).append(block)
    (tmp_path / "sources.toml").write_text("\n".join(of_sources))
    (tmp_path / "tokens.toml").write_text("\n".join(of_tokens))
    assert len(TokensFile(tmp_path / "tokens.toml").content) == 1
    token = tokens.make()
    (tmp_path / "tokens.toml").write_text(tokens.entry("me", token, ["read"], []) + "\n")
    exports = pasted(setup.rpartition("SOURCES_FILE")[0] + "export -p", tmp_path, os.environ)
    secrets = dict(re.findall(r'declare -x (\w+_SECRET)="(.+)"', exports))
    environment = (
        os.environ
        | secrets
        | {
            "HOST": "127.0.0.1",
            "PORT": str(free_port()),
            "DATABASE_URL": sources.installation.postgres.url,
            "TRANSPORT_URL": sources.installation.broker.url.removesuffix("/0") + "/1",  # its own conversations service
            "SOURCES_FILE": str(tmp_path / "sources.toml"),
            "TOKENS_FILE": str(tmp_path / "tokens.toml"),
            "TOKEN": token,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
    )
    with Service(["webhook", "conversations", "query"], environment, tmp_path / "webhook.log") as webhook:
        webhook.wait_ready()
        printed = [
            pasted(each.replace("http://127.0.0.1:8000", webhook.url), tmp_path, environment) for each in further
        ]
    answers = [json.loads(each)["status"] for each in printed if each.startswith("{")]
    assert answers == [*["created"] * 3, "OPEN"]
    assert set(TokensFile(tmp_path / "tokens.toml").content.names) == {"me", "dashboard", "prometheus", "shop"}
    erased = next(each for each in printed if "Erased" in each)
    assert "Erased: 1 conversations, 0 messages, 0 rejections." in erased
    assert "retention" not in erased


def pasted(script: str, directory: Path, environment: Mapping[str, str]) -> str:
    """What bash prints for it."""
    command = ["bash", "-ec", script]
    return subprocess.run(command, cwd=directory, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
