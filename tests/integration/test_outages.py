"""A part is away: the answer is a 503 that says when to try again, readiness names the part, and it heals by itself."""

from __future__ import annotations

import http.client
import json
import re
import time
import urllib.request
import uuid
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from installation import Installation, environment_of, event, frozen, start_installation
from rabbitmq import RabbitMQ
from realmate.conversations.service import TIDY_PAUSE_S
from realmate.local.ports import free_port
from realmate.local.postgres import Postgres
from realmate.local.service import Migration, Service
from realmate.local.valkey import Valkey
from transport_processes import eventually

COMMAND_TIMEOUT_S = 2.0
PATIENCE_S = 30.0
FAILS, WORKS = "timer fails: it goes on trying", "timer does its work again"
FREQUENT = {"sweep", "respond", "count_held", "tidy"}
"""The timers that run every few seconds."""


SOURCES = """
[sources.default]

[sources.bot.reply]
kind = "http"
url = "https://bot.example.com/"
secrets = [{ value = "whsec_MTIzNDU2Nzg5MDEyMzQ1Ng==" }]
"""
"""With a responder, so that all there is looks at the database again and again."""


@pytest.fixture(params=["redis", "amqp"])
def installation(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Installation]:
    sources = tmp_path / "sources.toml"
    sources.write_text(SOURCES)
    settings: dict[str, Any] = {
        "COMMAND_TIMEOUT_S": str(COMMAND_TIMEOUT_S),
        "LOG_FORMAT": "json",
        "SOURCES_FILE": str(sources),
    }
    with start_installation(tmp_path, request.param, **settings) as installation:
        yield installation


def opening() -> dict[str, object]:
    return event("NEW_CONVERSATION", id=str(uuid.uuid4()))


def assert_unavailable(installation: Installation, method: str, path: str, body: object = None) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", installation.intake.port, timeout=15)
    connection.request(method, path, body if body is None else json.dumps(body), {"X-Request-Id": "the-lost-one"})
    response = connection.getresponse()
    assert response.status == 503
    assert response.headers["Retry-After"] == "1"
    assert response.headers["X-Request-Id"] == "the-lost-one"
    assert json.loads(response.read())["code"] == "unavailable"
    connection.close()


def assert_works(installation: Installation) -> None:
    status, answer = installation.insist(opening())
    # A try that got a 503 may have been committed after all, when the machine is busy; then it exists.
    assert status == 201 or answer["code"] == "conversation_exists"


def wait_ready(installation: Installation) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    for service in (installation.intake, *installation.state):
        while installation.ask("GET", "/readyz", of=service)[0] != 200:
            assert time.monotonic() < give_up_at
            time.sleep(0.1)


def test_without_consumers_nothing_is_promised(installation: Installation) -> None:
    for service in installation.state:
        service.kill()
    assert_unavailable(installation, "POST", "/webhook/", opening())
    installation.state[0].start()
    assert_works(installation)


def test_without_its_broker_the_intake_is_not_ready_and_promises_nothing(installation: Installation) -> None:
    installation.broker.kill()
    assert_unavailable(installation, "POST", "/webhook/", opening())
    broker = "RabbitMQ" if isinstance(installation.broker, RabbitMQ) else "Redis"
    assert installation.ask("GET", "/readyz") == (
        503,
        {"status": "not ready", "failing": {"transport": f"{broker} cannot be reached"}},
    )
    assert installation.ask("GET", "/healthz")[0] == 200
    assert installation.ask("GET", "/servingz") == (200, {"status": "serving"}), "else nobody would say 503 to a sender"
    installation.broker.start()
    wait_ready(installation)
    assert_works(installation)


def test_without_postgres_nothing_is_promised_and_nothing_read(installation: Installation) -> None:
    installation.postgres.kill()
    assert_unavailable(installation, "POST", "/webhook/", opening())
    assert_unavailable(installation, "GET", f"/conversations/{uuid.uuid4()}/")
    status, body = installation.ask("GET", "/readyz", of=installation.state[0])
    assert (status, body["failing"]) == (503, {"database": "unavailable"})
    assert installation.ask("GET", "/servingz", of=installation.state[0])[0] == 200
    logged = "".join(service.log.read_text() for service in installation.state)
    assert "the-lost-one" in logged, "a request can be followed to the database's error"
    installation.postgres.start()
    wait_ready(installation)
    assert_works(installation)


def test_an_outage_is_told_of_and_is_no_error(installation: Installation) -> None:
    installation.postgres.kill()
    time.sleep(TIDY_PAUSE_S + 1)  # everything periodic that is due within seconds has met it
    installation.postgres.start()
    wait_ready(installation)
    for service in installation.state:
        levels = [json.loads(line).get("level") for line in service.log.read_text().splitlines()]
        assert "warning" in levels  # "not ready: waiting"
        assert "error" not in levels


def test_each_timer_tells_of_an_outage_once_and_of_its_end(installation: Installation) -> None:
    """Not with each of its runs, of which there are ten a second, and not in silence either."""
    installation.postgres.kill()
    time.sleep(TIDY_PAUSE_S + 1)
    installation.postgres.start()
    wait_ready(installation)
    for service in installation.state:
        assert eventually(partial(all_work_again, service))
        fails = timers_that(FAILS, service)
        assert set(fails) >= FREQUENT
        assert len(fails) <= 2 * len(set(fails)), "an outage may end in between, when a connection still answers"
        _, metrics = ask_metrics(service)
        assert re.search(r'realmate_timer_failures_total\{timer="sweep"\} [1-9]', metrics)
        last = re.search(r'realmate_timer_last_success_timestamp_seconds\{timer="sweep"\} (\S+)', metrics)
        assert last is not None
        assert abs(time.time() - float(last[1])) < 10


def all_work_again(service: Service) -> bool:
    """Whether each timer that runs every few seconds has told of the outage's end as often as of its begin."""
    fails, works = timers_that(FAILS, service), timers_that(WORKS, service)
    return all(fails.count(timer) == works.count(timer) for timer in FREQUENT)


def timers_that(event: str, service: Service) -> list[str]:
    lines = [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith('{"')]
    return [line["timer"] for line in lines if line.get("event") == event]


def ask_metrics(service: Service) -> tuple[int, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/metrics", timeout=5) as response:
        return response.status, response.read().decode()


def test_a_postgres_that_hangs_costs_a_503_and_no_restart(installation: Installation) -> None:
    """No answer at all is worse than a rejection: nothing tells the client but its own clock."""
    with frozen(installation.postgres.pid):
        assert_unavailable(installation, "POST", "/webhook/", opening())
        assert_unavailable(installation, "GET", f"/conversations/{uuid.uuid4()}/")
        for service in (installation.intake, *installation.state):
            assert installation.ask("GET", "/healthz", of=service)[0] == 200
            assert installation.ask("GET", "/readyz", of=service)[0] == 503
    wait_ready(installation)
    assert_works(installation)


def test_a_broker_that_hangs_costs_a_503_and_no_restart(installation: Installation) -> None:
    with frozen(installation.broker.pid):
        assert_unavailable(installation, "POST", "/webhook/", opening())
        assert installation.ask("GET", "/healthz")[0] == 200
        assert installation.ask("GET", "/readyz")[0] == 503
    wait_ready(installation)
    assert_works(installation)


def test_the_order_of_starting_does_not_matter(installation: Installation) -> None:
    """Services that find no store wait for it; they are alive, not ready, and need no restart."""
    services = [installation.intake, *installation.state]
    for service in services:
        service.stop()
    installation.postgres.kill()
    installation.broker.kill()
    for service in services:
        service.start()
    assert eventually(lambda: {probed(installation, "/servingz", of=each)[0] for each in services} == {503})
    time.sleep(2)
    assert all(service.running for service in services)
    installation.broker.start()
    installation.postgres.start()
    for service in services:
        service.wait_ready()
    assert_works(installation)


def test_without_a_schema_services_wait_for_the_migration(tmp_path: Path) -> None:
    """They say what is missing, and do not fill the log with it."""
    with Postgres(tmp_path / "postgres") as postgres, Valkey(tmp_path / "valkey") as valkey:
        environment = environment_of(postgres, valkey, tmp_path)
        log = tmp_path / "conversations.log"
        with Service(["conversations"], environment | {"PORT": str(free_port())}, log) as service:
            installation = Installation(postgres, valkey, intake=service, state=[])
            give_up_at = time.monotonic() + PATIENCE_S
            while (answer := probed(installation)) != (503, {"database": "not migrated: run `realmate migrate`"}):
                assert time.monotonic() < give_up_at, answer
                time.sleep(0.1)
            time.sleep(3)
            assert log.read_text().count("UndefinedTable") < 40, "two timers, each with growing pauses"
            Migration(environment, tmp_path / "migrate.log").start()
            service.wait_ready()


def probed(installation: Installation, path: str = "/readyz", of: Service | None = None) -> tuple[int, object]:
    """The status, and what fails; 0 where nobody listens yet."""
    try:
        status, body = installation.ask("GET", path, of=of)
    except OSError:
        return 0, None
    return status, body.get("failing")
