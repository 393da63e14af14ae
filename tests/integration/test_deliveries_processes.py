"""Outbound webhooks with all services running: what is sent when processes die, files change and receivers are away."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
import requests

from installation import Installation, event, start_installation
from realmate.cli import SERVICE_NAMES
from realmate.local.ports import free_port
from realmate.local.service import Service
from receivers import Answer, Receiver, receiving, until
from signatures import OTHER_SECRET, SECRET

LEASE_S = 2 + 5
"""The time after which a lane is another process's: the endpoint's timeout, and five seconds."""


class Endpoints:
    """The file of sources, whose endpoints a test changes while the services run."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "sources.toml"
        self._sections: dict[str, str] = {}
        self._write()

    def name(self, receiver: Receiver, name: str = "crm", **settings: object) -> None:
        usual = {"url": f'"{receiver.url}"', "allow_private": "true", "timeout_s": 2, "schedule": "[0.2, 0.5, 1, 2, 4]"}
        usual["secrets"] = f'[{{ value = "{SECRET}" }}]'
        self._sections[name] = "\n".join(f"{key} = {value}" for key, value in (usual | settings).items())
        self._write()

    def remove(self, name: str) -> None:
        del self._sections[name]
        self._write()

    def _write(self) -> None:
        sections = [f"[endpoints.{name}]\n{settings}\n" for name, settings in self._sections.items()]
        new = self.path.with_suffix(".new")
        new.write_text("[sources.default]\ngrouping = { window_s = 0.3 }\n" + "\n".join(sections))
        new.replace(self.path)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as started:
        yield started


@contextmanager
def running(
    directory: Path,
    *receivers: Receiver,
    deliveries: int = 1,
    environment: dict[str, str] | None = None,
    **settings: object,
) -> Iterator[Running]:
    """Start everything, with an endpoint for each receiver; `settings` are those of the endpoints."""
    file = Endpoints(directory)
    for number, receiver in enumerate(receivers):
        file.name(receiver, ("crm", "erp")[number], **settings)
    known: dict[str, Any] = {"SOURCES_FILE": str(file.path)} | (environment or {})
    with start_installation(directory, deliveries=deliveries, **known) as installation:
        started = Running(installation, file, directory)
        started.wait_begun(len(receivers))
        yield started


class Running:
    def __init__(self, installation: Installation, file: Endpoints, directory: Path) -> None:
        self.installation = installation
        self.file = file
        self.directory = directory

    def scalar(self, statement: str) -> object:
        connection = psycopg2.connect(self.installation.postgres.url)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
                row = cursor.fetchone() if cursor.description else None
                return None if row is None else row[0]
        finally:
            connection.close()

    def wait_begun(self, endpoints: int) -> None:
        """Return when so many endpoints have their place in the feed: what happens now is sent to them."""
        until(lambda: self.scalar("SELECT count(*) FROM endpoint_cursors") == endpoints)

    def opened(self, *contents: str) -> str:
        key = str(uuid4())
        assert self.installation.insist(event("NEW_CONVERSATION", id=key))[0] in {201, 400}
        for content in contents:
            message = event("NEW_MESSAGE", id=str(uuid4()), content=content, conversation_id=key)
            assert self.installation.insist(message)[0] == 202
        return key

    def realmate(self, *arguments: str) -> None:
        environment = os.environ | {"DATABASE_URL": self.installation.postgres.url, "SOURCES_FILE": str(self.file.path)}
        subprocess.run([sys.executable, "-m", "realmate", *arguments], env=environment, check=True, timeout=60)

    def metric(self, name: str) -> float:
        text = requests.get(f"{self.installation.deliveries[0].url}/metrics", timeout=10).text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


OPENED = ["conversation.opened", "message.received 1", "reply.created 2"]


def test_a_reply_reaches_the_receiver_soon_and_metrics_tell(receiver: Receiver, tmp_path: Path) -> None:
    with running(tmp_path, receiver) as all_of_it:
        key = all_of_it.opened("Oi")
        until(lambda: receiver.told(key) == OPENED)
        began, other = time.monotonic(), all_of_it.opened()
        until(lambda: receiver.told(other))
        assert time.monotonic() - began < 2
        until(lambda: all_of_it.metric('realmate_delivery_attempts_total{endpoint="crm",outcome="delivered"}') == 4)
        assert all_of_it.metric('realmate_delivery_delay_seconds_count{endpoint="crm"}') == 4
        [service] = all_of_it.installation.deliveries
        assert requests.get(f"{service.url}/readyz", timeout=10).status_code == 200
        assert requests.get(f"{service.url}/healthz", timeout=10).status_code == 200
        all_of_it.realmate("endpoints", "pause", "crm")
        until(lambda: all_of_it.metric('realmate_endpoint_paused{endpoint="crm"}') == 1)


def test_two_endpoints_of_which_one_is_dead_and_one_hangs_for_some_time(receiver: Receiver, tmp_path: Path) -> None:
    with receiving() as dead, running(tmp_path, receiver, dead) as all_of_it:
        released = threading.Event()

        def hang(_: object) -> Answer:
            released.wait(30)
            return Answer(500)

        dead.answer = hang
        keys = [all_of_it.opened("Oi") for _ in range(40)]
        until(lambda: all(len(receiver.told(key)) >= 2 for key in keys))
        delays = [each.at for each in receiver.requests]
        assert max(delays) - min(delays) < 15
        began, late = time.monotonic(), all_of_it.opened()
        until(lambda: receiver.told(late))
        assert time.monotonic() - began < 2, "the dead one delays neither the other one nor any event"
        assert all(receiver.told(key) == OPENED[: len(receiver.told(key))] for key in keys)
        released.set()


def test_an_endpoint_has_so_many_requests_in_flight_as_its_concurrency_says(receiver: Receiver, tmp_path: Path) -> None:
    def slow(_: object) -> Answer:
        time.sleep(0.2)
        return Answer()

    with running(tmp_path, receiver, concurrency=3) as all_of_it:
        receiver.answer = slow
        keys = [all_of_it.opened() for _ in range(30)]
        until(lambda: all(receiver.told(key) for key in keys))
        assert receiver.most_at_once == 3


def test_whoever_runs_it_may_keep_all_endpoints_out_of_private_networks(receiver: Receiver, tmp_path: Path) -> None:
    with running(tmp_path, receiver, environment={"ENDPOINTS_ALLOW_PRIVATE": "false"}) as all_of_it:
        all_of_it.opened()
        failure = until(lambda: all_of_it.scalar("SELECT failure FROM delivery_attempts"))
        assert failure == "http is for private networks, and those are not allowed here"
        assert receiver.requests == []


def test_a_process_killed_between_the_request_and_its_row_loses_nothing_and_repeats_the_id(
    receiver: Receiver, tmp_path: Path
) -> None:
    with running(tmp_path, receiver) as all_of_it:
        [service] = all_of_it.installation.deliveries
        arrived = threading.Event()

        def answer(_: object) -> Answer:
            arrived.set()
            time.sleep(0.5)
            return Answer()

        receiver.answer = answer
        key = all_of_it.opened("um", "dois")
        assert arrived.wait(20)
        service.kill()  # the receiver has it, and says 204 to nobody
        until(lambda: receiver.requests)
        [first] = receiver.requests
        receiver.answer = lambda _: Answer()
        began = time.monotonic()
        service.start()
        service.wait_ready()
        until(lambda: receiver.told(key)[-1].startswith("reply.created"))
        assert time.monotonic() - began < LEASE_S + 20
        again = receiver.requests[1]
        assert again.id == first.id
        assert again.headers["webhook-timestamp"] > first.headers["webhook-timestamp"]
        whole = ["conversation.opened", "message.received 1", "message.received 2", "reply.created 3"]
        assert receiver.told(key)[1:] == whole, "nothing is lost, and the order is kept"


def test_replicas_that_are_killed_at_random_lose_nothing_and_keep_the_order(receiver: Receiver, tmp_path: Path) -> None:
    with running(tmp_path, receiver, deliveries=2, schedule="[0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1]") as all_of_it:
        receiver.answer = lambda told: Answer(500 if hash((told["id"], time.monotonic_ns())) % 10 == 0 else 204)
        keys: list[str] = []
        for number in range(4):
            keys += [all_of_it.opened("um", "dois", "três") for _ in range(8)]
            service = all_of_it.installation.deliveries[number % 2]
            service.kill()
            service.start()
        receiver.answer = lambda _: Answer()
        expected = ["conversation.opened", *(f"message.received {number}" for number in (1, 2, 3)), "reply.created 4"]

        def is_whole(key: str) -> bool:
            return list(dict.fromkeys(receiver.told(key, only_taken=True))) == expected

        until(lambda: all(map(is_whole, keys)), timeout_s=60)
        for key in keys:
            assert list(dict.fromkeys(receiver.told(key, only_taken=True))) == expected
        told = {(each.event["conversation_id"], each.told): each.id for each in receiver.requests}
        assert all(told[each.event["conversation_id"], each.told] == each.id for each in receiver.requests)


def test_pause_and_resume_across_a_restart(receiver: Receiver, tmp_path: Path) -> None:
    with running(tmp_path, receiver) as all_of_it:
        [service] = all_of_it.installation.deliveries
        receiver.answer = lambda _: Answer(410)
        key = all_of_it.opened("Oi")
        until(lambda: all_of_it.scalar("SELECT pause_reason FROM endpoints") == "gone")
        service.stop()
        later = all_of_it.opened("Oi")
        service.start()
        service.wait_ready()
        time.sleep(1.5)
        assert len(receiver.requests) == 1, "it is paused in the database, and not in a process"
        receiver.answer = lambda _: Answer()
        all_of_it.realmate("endpoints", "resume", "crm")
        until(lambda: receiver.told(key, only_taken=True) == receiver.told(later, only_taken=True) == OPENED)


def test_an_orderly_stop_repeats_nothing(receiver: Receiver, tmp_path: Path) -> None:
    def slow(_: object) -> Answer:
        time.sleep(0.3)
        return Answer()

    with running(tmp_path, receiver) as all_of_it:
        [service] = all_of_it.installation.deliveries
        receiver.answer = slow
        keys = [all_of_it.opened() for _ in range(30)]
        until(lambda: receiver.requests)
        service.stop()
        service.start()
        service.wait_ready()
        until(lambda: all(receiver.told(key) for key in keys))
        assert len(receiver.requests) == 30


def test_an_endpoint_that_is_removed_ends_with_its_pending_deliveries_and_the_log_tells(
    receiver: Receiver, tmp_path: Path
) -> None:
    with receiving() as other, running(tmp_path, receiver, other) as all_of_it:
        receiver.answer = lambda _: Answer(500)
        keys = [all_of_it.opened("Oi") for _ in range(3)]
        until(lambda: receiver.requests and all(len(other.told(key)) == 3 for key in keys))
        all_of_it.file.remove("crm")
        time.sleep(2.5)
        count = len(receiver.requests)
        all_of_it.scalar("UPDATE endpoints SET named_at = named_at - interval '3 minutes' WHERE name = 'crm'")
        until(lambda: all_of_it.scalar("SELECT count(*) FROM endpoints") == 1)
        assert all_of_it.scalar("SELECT count(*) FROM deliveries") == 0
        assert all_of_it.scalar("SELECT count(*) FROM delivery_lanes") == 0
        assert len(receiver.requests) == count, "nothing was sent to it any more"
        log = (tmp_path / "deliveries-0.log").read_text()
        assert "endpoint ends with its pending deliveries" in log
        assert re.search(r"\bconversations\W+3\b", re.sub(r"\x1b\[[0-9;]*m", "", log))
        again = all_of_it.opened()
        receiver.answer = lambda _: Answer()
        all_of_it.file.name(receiver)
        all_of_it.wait_begun(2)
        new = all_of_it.opened()
        until(lambda: receiver.told(new))
        assert receiver.told(again) == [], "it is a new endpoint, which is told what happens from then on"


def test_a_section_that_comes_back_goes_on_where_it_was(receiver: Receiver, tmp_path: Path) -> None:
    with running(tmp_path, receiver) as all_of_it:
        all_of_it.file.remove("crm")
        time.sleep(2.5)
        key = all_of_it.opened("Oi")
        time.sleep(1)
        assert receiver.requests == []
        all_of_it.file.name(receiver)
        until(lambda: receiver.told(key) == OPENED)


def test_secrets_are_rotated_in_the_file_without_a_rejected_delivery(receiver: Receiver, tmp_path: Path) -> None:
    old, new = f'{{ value = "{SECRET}" }}', f'{{ value = "{OTHER_SECRET}" }}'
    with running(tmp_path, receiver) as all_of_it:
        going = threading.Event()

        def send() -> None:
            while not going.wait(0.05):
                all_of_it.opened()

        sender = threading.Thread(target=send)
        sender.start()
        try:
            for secrets, its in (
                (f"[{old}, {new}]", SECRET),
                (f"[{old}, {new}]", OTHER_SECRET),
                (f"[{new}]", OTHER_SECRET),
            ):
                all_of_it.file.name(receiver, secrets=secrets)
                time.sleep(2)
                receiver.secrets = [its]
                time.sleep(1)
        finally:
            going.set()
            sender.join()
        assert receiver.forged == 0
        assert len(receiver.taken) == len(receiver.requests) > 20
        assert len(receiver.requests[-1].headers["webhook-signature"].split(" ")) == 1


def test_a_wrong_file_is_told_in_one_line_and_what_it_said_before_holds(receiver: Receiver, tmp_path: Path) -> None:
    with running(tmp_path, receiver) as all_of_it:
        all_of_it.file.name(receiver, schedule='"hourly"')
        [service] = all_of_it.installation.deliveries
        until(lambda: "what it said before" in requests.get(f"{service.url}/readyz", timeout=10).text)
        log = (tmp_path / "deliveries-0.log").read_text()
        assert "endpoints.crm.schedule: Invalid enum value 'hourly'" in log
        assert "Traceback" not in log
        key = all_of_it.opened()
        until(lambda: receiver.told(key))


def test_a_database_that_is_away_for_a_while_delays_deliveries_and_loses_none(
    receiver: Receiver, tmp_path: Path
) -> None:
    with running(tmp_path, receiver) as all_of_it:
        first = all_of_it.opened("Oi")
        all_of_it.installation.postgres.kill()
        time.sleep(2)
        all_of_it.installation.postgres.start()
        second = all_of_it.opened("Oi")
        until(lambda: receiver.told(second)[-1:] == ["reply.created 2"], timeout_s=60)
        until(lambda: list(dict.fromkeys(receiver.told(first))) == OPENED, timeout_s=60)


def test_all_services_in_one_process_deliver_too(
    receiver: Receiver, tmp_path: Path, database_url: str, redis_url: str
) -> None:
    """The image does that when it is given no command."""
    file = Endpoints(tmp_path)
    file.name(receiver)
    stores = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "SOURCES_FILE": str(file.path)}
    environment = os.environ | stores | {"HOST": "127.0.0.1", "PORT": str(free_port())}
    environment["PROMETHEUS_MULTIPROC_DIR"] = str(tmp_path)
    with Service(SERVICE_NAMES, environment, tmp_path / "all.log") as service:
        service.wait_ready()

        def opened() -> bool:
            body = json.dumps(event("NEW_CONVERSATION", id=str(uuid4())))
            return requests.post(f"{service.url}/webhook/", data=body, timeout=10).ok and bool(receiver.requests)

        until(opened)
