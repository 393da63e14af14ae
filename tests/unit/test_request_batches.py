"""When requests leave for a worker, and how many together. A hub turns over, no socket is open."""

from __future__ import annotations

import time

import eventlet
import pytest

from realmate.http_server.batches import BatchQueue, RequestBatch
from realmate.http_server.request import Request
from realmate.runtime.settings import Settings
from realmate.wire.responses import Response

OK = Response(200, b"{}")


class Client:
    """A connection, as far as a batch knows it."""

    def __init__(self) -> None:
        self.answers: list[Response] = []

    def respond(self, request: Request, response: Response) -> None:  # noqa: ARG002 (a connection's signature)
        self.answers.append(response)


class Intake:
    """A queue whose batches are started, and finish when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, in_flight: int = 4) -> None:
        monkeypatch.setenv("HTTP_BATCHES_IN_FLIGHT", str(in_flight))
        self.started: list[RequestBatch] = []
        self.client = Client()
        self._queue = BatchQueue("/test/", self.started.append, Settings())

    @property
    def sizes(self) -> list[int]:
        return [batch.size for batch in self.started]

    def receive(self, count: int, *, waits: bool = True) -> None:
        """Take requests in one turn of the hub. `waits`: their wait will not be over while the test runs."""
        arrived_at = time.monotonic() + (3600 if waits else 0)
        for _ in range(count):
            self._queue.submit(Request("POST", "/test/", "", b"", "id", arrived_at, {}), self.client)
        eventlet.sleep(0)


@pytest.fixture
def intake(monkeypatch: pytest.MonkeyPatch) -> Intake:
    return Intake(monkeypatch)


def test_what_comes_in_one_turn_leaves_together(intake: Intake) -> None:
    intake.receive(7)
    assert intake.sizes == [7]


def test_newcomers_gather_until_they_are_as_many_as_a_batch_at_work(intake: Intake) -> None:
    intake.receive(4)
    intake.receive(3)
    assert intake.sizes == [4]
    intake.receive(1)
    assert intake.sizes == [4, 4]


def test_who_gathers_leaves_when_a_batch_comes_back(intake: Intake) -> None:
    intake.receive(4)
    intake.receive(1)
    intake.started[0].finish([OK] * 4)
    assert intake.sizes == [4, 1]
    assert intake.client.answers == [OK] * 4


def test_a_stuck_batch_keeps_newcomers_back_for_a_moment_only(intake: Intake) -> None:
    intake.receive(4)
    intake.receive(1, waits=False)
    give_up_at = time.monotonic() + 10
    while intake.sizes == [4] and time.monotonic() < give_up_at:
        eventlet.sleep(0.001)
    assert intake.sizes == [4, 1]


def test_no_more_batches_are_at_work_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    intake = Intake(monkeypatch, in_flight=2)
    for _ in range(5):
        intake.receive(1)
    assert intake.sizes == [1, 1]
    intake.started[0].finish([OK])
    assert intake.sizes == [1, 1, 3]
