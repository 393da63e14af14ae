"""ADMIN_PORT: metrics where only administrators look, and nothing else there."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from realmate.local.child import LocalError
from realmate.local.ports import free_port
from realmate.local.service import Service

SERVICES = [["webhook", "query"], ["conversations"]]


@pytest.fixture
def settings(database_url: str, redis_url: str) -> dict[str, str]:
    stores = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    return os.environ | stores | {"HOST": "127.0.0.1", "PORT": str(free_port()), "ADMIN_PORT": str(free_port())}


@pytest.fixture(params=SERVICES, ids="+".join)
def process(request: pytest.FixtureRequest, settings: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    with Service(request.param, settings, tmp_path / "log") as service:
        service.wait_ready()
        yield service


def statuses(port: int) -> dict[str, int]:
    paths = ("/healthz", "/readyz", "/metrics", "/conversations/x/")
    return {path: requests.get(f"http://127.0.0.1:{port}{path}", timeout=10).status_code for path in paths}


def test_metrics_are_there_and_nowhere_else(process: Service, settings: dict[str, str]) -> None:
    admin_port = int(settings["ADMIN_PORT"])
    assert statuses(admin_port) == {
        "/healthz": 200,
        "/readyz": 200,
        "/metrics": 200,
        "/conversations/x/": 404,
    }
    public = statuses(process.port)
    assert (public["/healthz"], public["/readyz"], public["/metrics"]) == (200, 200, 404)
    found = requests.get(f"http://127.0.0.1:{admin_port}/conversations/x/", timeout=10).json()
    assert found["code"] == "not_found"  # no conversation is looked for there


def test_a_taken_one_is_told_by_its_name(settings: dict[str, str], tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", int(settings["ADMIN_PORT"]))),
        pytest.raises(LocalError, match="is taken; choose another with ADMIN_PORT="),
        Service(["query"], settings, tmp_path / "log") as service,
    ):
        service.wait_ready()
