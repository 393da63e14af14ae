"""A `realmate up` of a test: everything on one machine, started as a newcomer starts it."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg2
import requests

from realmate.local.ports import free_port
from realmate.local.postgres import running_url

START_S = 60
STOP_S = 20  # the promise is 10; a machine that runs eight tests at once is given twice that
UP = (sys.executable, "-m", "realmate", "up")


def roles_at_work(directory: Path) -> set[tuple[str, str]]:
    """Which service is logged in as which role."""
    url = running_url(directory / "postgres")
    assert url
    connection = psycopg2.connect(url)
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(
            "SELECT application_name, usename FROM pg_stat_activity WHERE application_name LIKE 'realmate-%'"
        )
        return {(name, role) for name, role in cursor.fetchall()}


class Unavailable(Exception):
    """The service said that it cannot commit the event now."""


class Up:
    """A `realmate up` and all processes that belong to it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, output: Path) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self._output = output

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def family(self) -> list[psutil.Process]:
        me = psutil.Process(self.process.pid)
        return [me, *me.children(recursive=True)]

    def children(self, *words: str) -> list[psutil.Process]:
        """The direct children whose name or command line has these words."""
        found = []
        for child in psutil.Process(self.process.pid).children():
            with suppress(psutil.NoSuchProcess):  # as_dict alone is content with a zombie
                about = child.as_dict(["name", "cmdline"])
                if set(words) <= {about["name"], *(about["cmdline"] or [])} and child.status() != psutil.STATUS_ZOMBIE:
                    found.append(child)
        return found

    def kill_child(self, *words: str) -> None:
        """Kill the one child that these words name, and wait until there is another in its place."""
        [killed] = self.children(*words)
        killed.kill()
        self.wait_until(lambda: self.children(*words) not in ([], [killed]))

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = START_S) -> None:
        give_up_at = time.monotonic() + timeout_s
        while not condition():
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output}"
            assert time.monotonic() < give_up_at, f"still not so after {timeout_s:g} s:\n{self.output}"
            time.sleep(0.05)

    def wait_up(self) -> None:
        self.wait_until(lambda: "Ctrl-C stops everything" in self.output)

    def is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        except requests.RequestException:
            return False

    def open_conversation(self) -> str:
        conversation_id = str(uuid4())
        event = {"type": "NEW_CONVERSATION", "timestamp": "2025-06-04T14:20:00Z", "data": {"id": conversation_id}}
        answer = requests.post(f"{self.url}/webhook/", data=json.dumps(event), timeout=20)
        if answer.status_code == http.client.SERVICE_UNAVAILABLE:
            raise Unavailable(answer.text)
        assert answer.status_code == http.client.CREATED, answer.text
        return conversation_id

    def works(self) -> bool:
        """Whether an event is committed and read again. Where it meets a service that still starts, it gets a 503."""
        try:
            return self.knows(self.open_conversation())
        except Unavailable:
            return False

    def knows(self, conversation_id: str) -> bool:
        return requests.get(f"{self.url}/conversations/{conversation_id}/", timeout=20).ok


def environment(directory: Path, **settings: object) -> dict[str, str]:
    ours = {"DATABASE_URL", "REDIS_URL", "TRANSPORT_URL", "HOST"}
    return {
        **{name: value for name, value in os.environ.items() if name not in ours},
        "REALMATE_DATA_DIR": str(directory),
        **{name: str(value) for name, value in settings.items()},
    }


@contextmanager
def up(directory: Path, *, command: tuple[str, ...] = UP, ready: bool = True, **settings: object) -> Iterator[Up]:
    """A `realmate up` whose data is in `directory`; whatever a test leaves of it is killed."""
    port = free_port()
    output = directory.parent / f"{directory.name}.{port}.output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            command,
            env=environment(directory, PORT=port, **settings),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = Up(process, port, output)
    family: list[psutil.Process] = []
    try:
        if ready:
            running.wait_up()
        yield running
        family = running.family if process.poll() is None else []
    finally:
        process.kill()
        process.wait()
        for member in family:
            if member.is_running():
                member.kill()
