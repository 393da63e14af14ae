"""`GET /changes/` over HTTP, with all services running: pages, long poll, tokens, wrong queries, drain."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests

from installation import start_installation
from reading import Client, start_with_readers

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "reading.md"
WINDOW_S = 0.5


class Reader(Client):
    def get(self, **parameters: Any) -> requests.Response:
        return self.fetch("/changes/", **parameters)

    def page(self, **parameters: Any) -> dict[str, Any]:
        answer = self.get(**parameters)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def now(self) -> str:
        return str(self.page()["cursor"])

    def until(self, after: str, most: int, **parameters: Any) -> list[dict[str, Any]]:
        """The events after a cursor, as soon as there are so many."""
        events: list[dict[str, Any]] = []
        give_up_at = time.monotonic() + 20
        while len(events) < most:
            assert time.monotonic() < give_up_at, events
            page = self.page(after=after, wait=2, **parameters)
            events += page["items"]
            after = page["cursor"]
        return events


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Reader, Reader]]:
    """One that may read everything, and one that may read the source `shop`."""
    directory, sources = tmp_path_factory.mktemp("changes"), ("default", "shop", "store")
    with start_with_readers(directory, *sources, GROUP_WINDOW_S=str(WINDOW_S)) as (installation, everyone, shop):
        yield Reader(installation, everyone), Reader(installation, shop)


@pytest.fixture
def reader(readers: tuple[Reader, Reader]) -> Reader:
    return readers[0]


def test_who_asks_for_nothing_gets_a_cursor_of_now_and_follows_from_there(reader: Reader) -> None:
    page = reader.page()
    assert page["items"] == []
    assert page["caught_up"] is True
    key = reader.opened()
    reader.post("NEW_MESSAGE", id=str(uuid4()), conversation_id=key, content="Olá")
    events = reader.until(page["cursor"], 3, conversation=key)
    assert [each["type"] for each in events] == ["conversation.opened", "message.received", "reply.created"]
    assert [set(each) for each in events] == [{"id", "type", "timestamp", "source", "conversation_id", "data"}] * 3
    assert events[1]["data"]["message"]["content"] == "Olá"
    assert [each["data"]["message"]["position"] for each in events[1:]] == [1, 2]


def test_a_long_poll_returns_with_the_news_and_not_before(reader: Reader) -> None:
    cursor, answers = reader.now(), []

    def poll() -> None:
        answers.append((reader.page(after=cursor, wait=20), time.monotonic()))

    polling = threading.Thread(target=poll)
    polling.start()
    time.sleep(1)
    assert not answers, "there is nothing to tell yet"
    key, opened_at = reader.opened(), time.monotonic()
    polling.join()
    [(page, told_at)] = answers
    assert [each["conversation_id"] for each in page["items"]] == [key]
    assert told_at - opened_at < 5


def test_a_long_poll_in_silence_ends_in_time_with_nothing(reader: Reader) -> None:
    began = time.monotonic()
    page = reader.page(after=reader.now(), wait=1, conversation=str(uuid4()))
    assert page["items"] == []
    assert 0.9 < time.monotonic() - began < 5


def test_a_hundred_long_polls_each_get_their_own_conversation(reader: Reader) -> None:
    cursor = reader.now()
    keys = [str(uuid4()) for _ in range(100)]
    found: dict[str, list[str]] = {}

    def poll(key: str) -> None:
        found[key] = [each["conversation_id"] for each in reader.until(cursor, 1, conversation=key)]

    polling = [threading.Thread(target=poll, args=[key]) for key in keys]
    for thread in polling:
        thread.start()
    for key in keys:
        reader.post("NEW_CONVERSATION", id=key)
    for thread in polling:
        thread.join()
    assert found == {key: [key] for key in keys}


def test_a_token_hides_what_it_may_not_read(readers: tuple[Reader, Reader]) -> None:
    everyone, shop = readers
    cursor = everyone.now()
    hidden, shown = everyone.opened("store"), everyone.opened("shop")
    assert {each["conversation_id"] for each in everyone.until(cursor, 2)} == {hidden, shown}
    assert [each["conversation_id"] for each in shop.until(cursor, 1)] == [shown]
    assert shop.page(after=cursor, source="store")["items"] == [], "to this token, it does not exist"
    assert shop.page(after=cursor, conversation=hidden)["items"] == []
    assert requests.get(f"{everyone.url}/changes/", timeout=15).status_code == 401


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("afer=oldest", "afer"),
        ("after=oldest&after=oldest", "after"),
        ("after=nonsense", "after"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("wait=31", "wait"),
        ("wait=nan", "wait"),
        ("type=message", "type"),
        ("conversation=1", "conversation"),
        ("&".join(f"conversation={number:032x}" for number in range(101)), "conversation"),
    ],
)
def test_a_wrong_parameter_is_named(reader: Reader, query: str, field: str) -> None:
    answer = requests.get(f"{reader.url}/changes/?{query}", headers=reader.headers, timeout=15)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")
    assert {error["field"] for error in answer.json()["errors"]} == {field}


def test_an_answer_is_kept_by_no_cache(reader: Reader) -> None:
    assert reader.get().headers["Cache-Control"] == "no-store"
    assert requests.post(f"{reader.url}/changes/", timeout=15).status_code == 405


def test_the_documentation_s_lines_can_be_pasted(reader: Reader, tmp_path: Path) -> None:
    """The lines for curl run as they are. The consumer is stopped, goes on where it was, and misses nothing."""
    text = DOCUMENTATION.read_text()
    follow, listing = re.findall(r"```bash\n(.+?)```", text, re.DOTALL)
    [program] = re.findall(r"```python\n(.+?)```", text, re.DOTALL)
    keys = [reader.opened() for _ in range(3)]
    token = reader.headers["Authorization"].removeprefix("Bearer ")
    environment = os.environ | {"REALMATE": reader.url, "TOKEN": token}
    for lines, member in ((follow, "caught_up"), (listing, "items")):
        curl = lines.replace("curl -s", 'curl -sf -H "Authorization: Bearer $TOKEN"')
        shown = subprocess.check_output(["bash", "-ec", curl], cwd=tmp_path, env=environment)
        assert json.loads(shown)[member]
    (tmp_path / "consumer.py").write_text(program)
    for _ in range(2):
        keys.append(reader.opened())
        subprocess.run([sys.executable, "consumer.py", "3"], cwd=tmp_path, env=environment, check=True)
    with closing(sqlite3.connect(tmp_path / "consumer.sqlite")) as db:
        opened = [key for (key,) in db.execute("SELECT conversation FROM events WHERE type = 'conversation.opened'")]
    assert set(keys) <= set(opened)
    assert len(opened) == len(set(opened))


def test_who_waits_is_answered_when_the_process_drains(tmp_path: Path) -> None:
    with start_installation(tmp_path) as installation:
        url = f"{installation.intake.url}/changes/"
        give_up_at = time.monotonic() + 20
        while (answer := requests.get(url, timeout=15)).status_code == 503:
            assert time.monotonic() < give_up_at
            time.sleep(0.1)
        answers: list[requests.Response] = []
        query = {"after": answer.json()["cursor"], "wait": "30"}
        polling = threading.Thread(target=lambda: answers.append(requests.get(url, params=query, timeout=60)))
        polling.start()
        time.sleep(1)
        began = time.monotonic()
        installation.intake.terminate()
        polling.join()
        assert answers[0].status_code == 200
        assert answers[0].json()["items"] == []
        assert time.monotonic() - began < 10, "not thirty seconds later"
