"""/healthz, /readyz and /metrics, idle and under load."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from prometheus_client.parser import text_string_to_metric_families

from client import Client

LOAD_S = 3.0


@pytest.mark.edge  # an ingress leads only events and conversations through
@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_a_healthy_process_says_so(client: Client, path: str) -> None:
    assert client.request("GET", path).status == 200


@pytest.mark.direct
def test_metrics_are_prometheus_text(client: Client) -> None:
    client.opened()
    answer = client.request("GET", "/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain")
    families = list(text_string_to_metric_families(answer.body))
    assert any(family.name.startswith("realmate_") and family.samples for family in families)


@pytest.mark.direct
def test_they_answer_under_load(client: Client) -> None:
    stop = Event()

    def load() -> int:
        committed = 0
        while not stop.is_set():
            committed += client.open().status == 201
        return committed

    with ThreadPoolExecutor(16) as pool:
        senders = [pool.submit(load) for _ in range(16)]
        try:
            ends_at = time.monotonic() + LOAD_S
            while time.monotonic() < ends_at:
                for path in ("/healthz", "/readyz", "/metrics"):
                    assert client.request("GET", path).status == 200
        finally:
            stop.set()
    assert sum(sender.result() for sender in senders) > 0
