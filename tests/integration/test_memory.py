"""Each service stays within the chart's memory limit through the worst that strangers can send, and nothing is lost.

What counts is the high-water mark of the resident memory, which the kernel keeps (VmHWM): nothing falls between two
looks. A limit on virtual memory (RLIMIT_AS) would count what is mapped and never touched.
"""

from __future__ import annotations

import json
import random
import re
import string
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from installation import environment_of, event
from raw_http import Answer, RawConnection, get, post
from realmate.local.ports import free_port
from realmate.local.postgres import Postgres
from realmate.local.service import Migration, Service
from realmate.local.valkey import Valkey

MIB = 1_048_576
LIMIT_BYTES = 384 * MIB
"""Of each service: resources.limits.memory in charts/realmate/values.yaml."""
SOURCES = """
[sources.default]

[sources.shop.signing]
scheme = "x-hub-signature-256"
secrets = [{ value = "0123456789abcdef0123456789abcdef" }]
"""
NAMES = ("webhook", "conversations", "query")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")


class Realmate:
    def __init__(self, services: dict[str, Service]) -> None:
        self.services = services

    def connect(self, name: str, *, receive_buffer: int | None = None) -> RawConnection:
        return RawConnection(("127.0.0.1", self.services[name].port), timeout_s=60, receive_buffer=receive_buffer)

    def ask(self, name: str, data: bytes) -> Answer:
        with self.connect(name) as client:
            return client.ask(data)

    def check(self) -> None:
        """Every service has kept its limit, and all is well."""
        highest = {name: high_water_mark(service.pid) for name, service in self.services.items()}
        assert all(mark < LIMIT_BYTES for mark in highest.values()), highest
        assert [self.ask(name, get("/readyz")).status for name in NAMES] == [200] * 3


def high_water_mark(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)[0]) * 1024


@pytest.fixture(scope="module")
def realmate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Realmate]:
    directory = tmp_path_factory.mktemp("memory")
    (directory / "sources.toml").write_text(SOURCES)
    with ExitStack() as stack:
        postgres = stack.enter_context(Postgres(directory / "postgres"))
        broker = stack.enter_context(Valkey(directory / "broker"))
        environment = environment_of(postgres, broker, directory)
        environment |= {"SOURCES_FILE": str(directory / "sources.toml"), "COMMAND_TIMEOUT_S": "20"}
        Migration(environment, directory / "migrate.log").start()
        services = {}
        for name in NAMES:
            service = Service([name], environment | {"PORT": str(free_port())}, directory / f"{name}.log")
            services[name] = stack.enter_context(service)
        for service in services.values():
            service.wait_ready()
        yield Realmate(services)


def random_text(length: int) -> str:
    return "".join(random.choices(string.ascii_letters, k=length))


def message(conversation_id: str, content: str, padding: int = 0) -> tuple[str, bytes]:
    message_id = str(uuid4())
    body = event("NEW_MESSAGE", id=message_id, content=content, conversation_id=conversation_id)
    return message_id, json.dumps(body | {"padding": "x" * padding}, ensure_ascii=False).encode()


def opened(realmate: Realmate) -> str:
    conversation_id = str(uuid4())
    body = json.dumps(event("NEW_CONVERSATION", id=conversation_id)).encode()
    assert realmate.ask("webhook", post("/webhook/", body)).status == 201
    return conversation_id


def shown(realmate: Realmate, conversation_id: str) -> set[str]:
    answer = realmate.ask("query", get(f"/conversations/{conversation_id}/"))
    assert answer.status == 200
    return {each["id"] for each in answer.json()["messages"]}


@pytest.mark.parametrize(
    "content", [random_text(65_536), "\N{PILE OF POO}" + "á" * 65_535], ids=["of letters", "of four bytes a letter"]
)
def test_events_of_a_megabyte_on_256_connections_at_once(realmate: Realmate, content: str) -> None:
    conversation_id = opened(realmate)
    events = [message(conversation_id, content, 900_000 - len(content)) for _ in range(256)]
    with ThreadPoolExecutor(64) as pool, ExitStack() as stack:
        clients = [stack.enter_context(realmate.connect("webhook")) for _ in events]

        def send(client: RawConnection, body: bytes) -> Answer:
            return client.ask(post("/webhook/", body))

        answers = list(pool.map(send, clients, [body for _, body in events]))
    assert {answer.status for answer in answers} <= {202, 503}
    promised = {key for (key, _), answer in zip(events, answers, strict=True) if answer.status == 202}
    assert promised <= shown(realmate, conversation_id)
    assert len(promised) > 50
    realmate.check()


def test_what_is_rejected_at_its_full_size_and_kept(realmate: Realmate) -> None:
    with ThreadPoolExecutor(64) as pool:
        body = post("/webhook/", b"{" + b" " * 1_000_000)
        answers = list(pool.map(lambda _: realmate.ask("webhook", body), range(128)))
    assert {answer.status for answer in answers} <= {400, 503}
    realmate.check()


def test_bodies_that_are_never_finished(realmate: Realmate) -> None:
    forged = "X-Hub-Signature-256: sha256=00\r\n"
    with ExitStack() as stack:
        for path, headers in (("/webhook/shop/", ""), ("/webhook/shop/", forged), ("/webhook/", "")):
            for _ in range(200):
                client = stack.enter_context(realmate.connect("webhook"))
                client.send_what_fits(post(path, b"x" * 900_000, headers)[:-1000], within_s=0.01)
        assert opened(realmate)  # at the same time
        realmate.check()


def test_readers_that_do_not_read(realmate: Realmate) -> None:
    conversation_id = opened(realmate)
    sent = {message(conversation_id, random_text(10_000)) for _ in range(100)}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda each: realmate.ask("webhook", post("/webhook/", each[1])), sent))
    assert {answer.status for answer in answers} == {202}
    with ExitStack() as stack:
        for _ in range(100):
            client = stack.enter_context(realmate.connect("query", receive_buffer=4096))
            client.send(get(f"/conversations/{conversation_id}/"))
        assert {key for key, _ in sent} <= shown(realmate, conversation_id)
        realmate.check()


def test_a_conversation_larger_than_any_batch_is_shown_whole(realmate: Realmate) -> None:
    conversation_id = opened(realmate)
    sent = [message(conversation_id, "\N{PILE OF POO}" * 65_536) for _ in range(80)]  # 20 MB
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda each: realmate.ask("webhook", post("/webhook/", each[1])), sent))
    assert {answer.status for answer in answers} == {202}
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: shown(realmate, conversation_id), range(8)))
    assert all({key for key, _ in sent} <= ids for ids in seen)
    realmate.check()
