"""A deploy under load: every process is replaced, one replica after the other, and no sender or reader is the wiser.

Without an edge, clients choose a replica as an endpoint controller tells them, a moment late; behind it, HAProxy does.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from event_streams import EventStream, feed_pages
from replicas import Edge, Endpoints, Replicas, restart, start_replicas
from traffic import Ledger, traffic

DRAIN_DELAY_S = 2.0
"""Longer than an endpoint is still used after it stopped being one, even on a busy machine."""
DEATH_S = 1.0
SETTLED_WITHIN_S = 60.0
SUCCESS = {"200", "201", "202"}
DONE_ALREADY = {"400 conversation_exists"}
"""What a sender hears of an event whose first answer was lost: the edge sent it again."""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(params=["redis", "amqp"])
def transport(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def test_without_an_edge_a_rolling_restart_fails_no_request(tmp_path: Path, transport: str) -> None:
    with start_replicas(tmp_path, transport, GROUP_WINDOW_S="0.5", DRAIN_DELAY_S=str(DRAIN_DELAY_S)) as replicas:
        with (
            Endpoints(replicas.webhook) as webhook,
            Endpoints(replicas.query) as query,
            traffic(webhook.choose, query.choose) as ledger,
        ):
            for wave in replicas.waves:
                restart(wave)
                webhook.wait_complete()
                query.wait_complete()
        assert ledger.failures == []
        assert set(ledger.answers) == SUCCESS
        assert_kept(ledger, replicas.query[0].port)


@contextmanager
def behind_the_edge(directory: Path, transport: str) -> Iterator[tuple[Replicas, Edge]]:
    """Without a drain delay: what a replica does not answer any more, the edge asks the other."""
    with start_replicas(directory, transport, GROUP_WINDOW_S="0.5") as replicas, Edge(replicas) as edge:
        yield replicas, edge


def test_behind_the_edge_a_rolling_restart_fails_no_request(tmp_path: Path, transport: str) -> None:
    with behind_the_edge(tmp_path, transport) as (replicas, edge):
        with traffic(lambda: edge.port, lambda: edge.port) as ledger:
            for wave in replicas.waves:
                restart(wave)
                edge.wait_complete()
        assert ledger.failures == []
        assert set(ledger.answers) == SUCCESS
        assert_kept(ledger, edge.port)


def test_behind_the_edge_the_death_of_a_replica_fails_no_request(tmp_path: Path, transport: str) -> None:
    """An event may be sent again at any time, so the edge may do it: nobody sees even a kill -9."""
    with behind_the_edge(tmp_path, transport) as (replicas, edge):
        with traffic(lambda: edge.port, lambda: edge.port) as ledger:
            for service in (replicas.webhook[0], replicas.conversations[0], replicas.query[0]):
                time.sleep(DEATH_S)
                service.kill()
                time.sleep(DEATH_S)
                service.start()
                service.wait_ready()
                edge.wait_complete()
        assert ledger.failures == []
        assert set(ledger.answers) - DONE_ALREADY == SUCCESS
        assert_kept(ledger, edge.port)


def test_behind_the_edge_a_reader_of_changes_misses_nothing(tmp_path: Path) -> None:
    """It knows one address, and goes on from its last event when a stream ends, or breaks off with its replica."""
    with behind_the_edge(tmp_path, "redis") as (replicas, edge):
        told: list[str] = []
        over = threading.Event()
        url = f"http://127.0.0.1:{edge.port}"
        reader = threading.Thread(target=follow, args=[url, told, over])
        with traffic(lambda: edge.port, lambda: edge.port) as ledger:
            reader.start()
            for wave in replicas.waves:
                restart(wave)
                edge.wait_complete()
            for service in replicas.query:
                service.kill()
                service.start()
                service.wait_ready()
                edge.wait_complete()
        assert_kept(ledger, edge.port)
        stored = [each["id"] for each in feed_pages(url)]
        give_up_at = time.monotonic() + SETTLED_WITHIN_S
        while len(told) < len(stored) and time.monotonic() < give_up_at:
            time.sleep(0.1)
        over.set()
        reader.join()
        assert len(stored) > len(ledger.promised)
        assert told == stored


def test_behind_the_edge_a_silent_stream_lives_on(tmp_path: Path) -> None:
    """The edge gives up a service that owes an answer for 7 s. A stream is silent for up to 15 s."""
    with behind_the_edge(tmp_path, "redis") as (_, edge), EventStream(f"http://127.0.0.1:{edge.port}") as stream:
        stream.until_caught_up()
        comments = stream.comments
        with pytest.raises(TimeoutError):
            stream.next(timeout_s=20)
        assert stream.comments > comments, "the heartbeat came"


def follow(url: str, told: list[str], over: threading.Event) -> None:
    """Note the ids of all events from the oldest on."""
    last = ""
    while not over.is_set():
        with suppress(OSError, EOFError), EventStream(url, "after=oldest", last_event_id=last) as stream:
            while stream.status == http.client.OK and not over.is_set():
                with suppress(TimeoutError):
                    told += [each.data["id"] for each in stream.take(1, timeout_s=0.5)]
                    last = stream.last_id
        time.sleep(0.05)


def assert_kept(ledger: Ledger, port: int) -> None:
    """Every message answered 2xx is in its conversation, and in exactly one reply."""
    assert ledger.promised
    give_up_at = time.monotonic() + SETTLED_WITHIN_S
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    for key, said in ledger.promised.items():
        while sorted(answered(connection, str(key))) != sorted(said):
            assert time.monotonic() < give_up_at, f"{key} is not answered"
            time.sleep(0.1)
    connection.close()


def answered(connection: http.client.HTTPConnection, key: str) -> list[str]:
    """The messages that the conversation's responses name."""
    connection.request("GET", f"/conversations/{key}/")
    response = connection.getresponse()
    messages = json.loads(response.read())["messages"]
    responses = [message["content"] for message in messages if message["type"] == "OUTBOUND"]
    return [line for reply in responses for line in reply.splitlines()[1:]]
