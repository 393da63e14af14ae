"""Started in any order, a service says in its log what it waits for, and when it can work: nobody need ask it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from installation import environment_of
from realmate.local.ports import free_port
from realmate.local.postgres import Postgres
from realmate.local.service import Migration, Service
from realmate.local.valkey import Valkey

NEEDS = {"webhook": {"transport"}, "conversations": {"database", "transport"}, "query": {"database"}}
PATIENCE_S = 60.0


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Postgres, Valkey]]:
    """Both known by their addresses, and not running."""
    with Postgres(tmp_path / "postgres") as postgres, Valkey(tmp_path / "valkey") as valkey:
        postgres.stop()
        valkey.stop()
        yield postgres, valkey


def logged(service: Service, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in service.log.read_text().splitlines() if line.startswith('{"')]
    return [line for line in lines if line["event"] == event]


def is_told_once(service: Service) -> bool:
    return len(logged(service, "ready")) == 1


def eventually(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at, "it did not happen"
        time.sleep(0.1)


def test_each_service_tells_what_it_waits_for_and_when_it_is_ready(
    tmp_path: Path, stores: tuple[Postgres, Valkey]
) -> None:
    postgres, valkey = stores
    environment = environment_of(postgres, valkey, tmp_path) | {"LOG_FORMAT": "json"}
    with ExitStack() as running:
        services = {
            name: running.enter_context(
                Service([name], environment | {"PORT": str(free_port())}, tmp_path / f"{name}.log")
            )
            for name in NEEDS
        }
        for name, service in services.items():
            eventually(partial(waits, service, NEEDS[name]))
            assert all("refused" in line["error"].lower() for line in logged(service, "not ready: waiting"))
            assert logged(service, "ready") == []
        valkey.start()
        postgres.start()
        eventually(lambda: "not migrated: run `realmate migrate`" in reasons(services["query"]))
        Migration(environment, tmp_path / "migrate.log").start()
        for service in services.values():
            eventually(partial(is_told_once, service))


def waits(service: Service, needs: set[str]) -> bool:
    return {line["part"] for line in logged(service, "not ready: waiting")} == needs


def reasons(service: Service) -> list[str]:
    return [line["reason"] for line in logged(service, "not ready: waiting")]
