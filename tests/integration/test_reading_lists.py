"""`GET /conversations/`, entity tags, and a conversation's last messages, over HTTP with all services running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg2
import pytest
import requests

from reading import Client, start_with_readers

SOURCES = ("default", "shop", "store", "walked", "sparse")


class Reader(Client):
    def get(self, path: str, tag: str = "", **parameters: Any) -> requests.Response:
        return self.fetch(path, tag=tag, **parameters)

    def page(self, path: str = "/conversations/", **parameters: Any) -> dict[str, Any]:
        answer = self.get(path, **parameters)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        assert (body["next"] is None) == ("Link" not in answer.headers)
        return body

    def walk(self, **parameters: Any) -> list[dict[str, Any]]:
        """All items, page after page."""
        page = self.page(**parameters)
        items = page["items"]
        while page["next"]:
            assert len(page["items"]) <= parameters.get("limit", 50)
            page = self.page(page["next"])
            items += page["items"]
        return list(items)

    def execute(self, sql: str, *values: object) -> None:
        with (
            closing(psycopg2.connect(self.installation.postgres.url)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(sql, values)

    def conversation(self, source: str, *contents: str, key: str = "", closed: bool = False) -> str:
        key = self.opened(source, key)
        for content in contents:
            self.say(key, content, source)
        if closed:
            self.post("CLOSE_CONVERSATION", source, id=key)
        return key


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Reader, Reader]]:
    """One that may read everything, and one that may read the source `shop`."""
    directory = tmp_path_factory.mktemp("lists")
    with start_with_readers(directory, *SOURCES, GROUP_WINDOW_S="600") as (installation, everyone, shop):
        reader = Reader(installation, everyone)
        reader.conversation("default", key="00000000-0000-4000-8000-000000000001")
        yield reader, Reader(installation, shop)


@pytest.fixture
def everyone(readers: tuple[Reader, Reader]) -> Reader:
    return readers[0]


def ids(items: list[dict[str, Any]]) -> list[str]:
    return [each["id"] for each in items]


def test_a_conversation_is_listed_with_its_last_message(everyone: Reader) -> None:
    empty = everyone.conversation("default")
    waiting = everyone.conversation("default", "oi", "Olá, quero almoçar. " * 10)
    closed = everyone.conversation("default", "até logo", closed=True)
    third, second, first = everyone.page(limit=3)["items"]
    assert ids([first, second, third]) == [empty, waiting, closed]
    assert first["last_message"] is None
    assert first["reply_due_at"] is None
    assert (second["status"], second["source"]) == ("OPEN", "default")
    assert second["reply_due_at"] > second["updated_at"]
    said = second["last_message"]
    assert (said["type"], said["position"], said["truncated"]) == ("INBOUND", 2, True)
    assert said["excerpt"] == ("Olá, quero almoçar. " * 10)[:159] + "…"
    assert (third["status"], third["last_message"]["type"]) == ("CLOSED", "OUTBOUND")
    shown = everyone.get(f"/conversations/{closed}/").json()
    assert {name: third[name] for name in ("id", "status", "created_at", "updated_at")} == {
        name: shown[name] for name in ("id", "status", "created_at", "updated_at")
    }
    assert third["last_message"]["id"] == shown["messages"][-1]["id"]


@pytest.mark.parametrize("order", ["-active", "id"])
def test_pages_lead_on_and_every_conversation_comes_once(everyone: Reader, order: str) -> None:
    made = [everyone.conversation("walked", "oi", closed=number % 3 == 0) for number in range(11)]
    wanted = ids(everyone.walk(order=order, source="walked", limit=200))
    assert set(made) <= set(wanted)
    for limit in (1, 3, len(wanted)):
        assert ids(everyone.walk(order=order, source="walked", limit=limit)) == wanted
    assert wanted == sorted(wanted) if order == "id" else wanted[:11] == made[::-1]


def test_conversations_of_one_moment_and_of_one_id_come_once_each(everyone: Reader) -> None:
    shared = str(uuid4())
    for source in ("shop", "store", "default"):
        everyone.conversation(source, key=shared)
    everyone.execute(
        "UPDATE conversations SET active_at = '2031-01-01', updated_at = '2031-01-01' WHERE id = %s", shared
    )
    for order in ("-active", "id"):
        walked = [each["source"] for each in everyone.walk(order=order, limit=1) if each["id"] == shared]
        assert sorted(walked) == ["default", "shop", "store"]
    everyone.execute("UPDATE conversations SET active_at = created_at, updated_at = created_at WHERE id = %s", shared)


def test_source_status_and_moment_choose(everyone: Reader) -> None:
    opened = everyone.conversation("store", "oi")
    closed = everyone.conversation("store", "oi", closed=True)
    assert {closed, opened} <= set(ids(everyone.walk(source=["store", "shop"])))
    assert opened not in ids(everyone.walk(source="shop"))
    assert opened in ids(everyone.walk(source="store", status="OPEN"))
    assert closed not in ids(everyone.walk(source="store", status="OPEN"))
    assert {closed, opened} <= set(ids(everyone.walk(source="store", status=["OPEN", "CLOSED"])))
    assert everyone.page(source="nobody") == {**everyone.page(source="nobody"), "items": [], "next": None}
    since = everyone.get(f"/conversations/{closed}/").json()["updated_at"]
    for order in ("-active", "id"):
        assert ids(everyone.walk(source="store", updated_since=since, order=order)) == [closed]
    later = (datetime.fromisoformat(since) + timedelta(microseconds=1)).isoformat()
    assert everyone.walk(source="store", updated_since=later) == []


def test_what_changed_within_a_group_is_listed_by_its_last_change(everyone: Reader) -> None:
    """`active_at` stays where it is then, and the list is complete all the same."""
    key = everyone.conversation("store", "um")
    before = everyone.page(limit=1)["items"][0]
    everyone.say(key, "dois", "store")
    after = next(each for each in everyone.walk(source="store") if each["id"] == key)
    assert after["active_at"] == before["active_at"] < after["updated_at"]
    assert key in ids(everyone.walk(source="store", updated_since=after["updated_at"]))


def test_a_few_among_many_are_found_in_the_order_of_ids(everyone: Reader) -> None:
    """Each page looks through a bounded number of conversations: some have no item, and lead on all the same."""
    kept = sorted(everyone.conversation("sparse") for _ in range(3))
    everyone.execute(
        "INSERT INTO conversations (id, source_id, status, last_seq, created_at, updated_at, active_at)"
        " SELECT gen_random_uuid(), id, 2, 0, now(), now(), now() FROM sources, generate_series(1, 4500)"
        " WHERE name = 'sparse'"
    )
    page = everyone.page(order="id", source="sparse", status="OPEN", limit=2)
    assert page["next"] is not None
    assert ids(everyone.walk(order="id", source="sparse", status="OPEN", limit=2)) == kept
    assert len(everyone.walk(order="id", source="sparse", limit=200)) == 4503
    assert ids(everyone.walk(source="sparse", status="OPEN", limit=1)) == sorted(
        kept, key=ids(everyone.walk(source="sparse", status="OPEN")).index
    )
    everyone.execute("DELETE FROM conversations WHERE source_id = (SELECT id FROM sources WHERE name = 'sparse')")


def test_a_token_lists_its_own_sources(readers: tuple[Reader, Reader]) -> None:
    everyone, shop = readers
    mine, other = everyone.conversation("shop"), everyone.conversation("store")
    assert mine in ids(shop.walk())
    assert other not in ids(shop.walk(order="id"))
    assert shop.walk(source="store") == []
    assert {each["source"] for each in shop.walk()} == {"shop"}
    assert requests.get(everyone.url + "/conversations/", timeout=15).status_code == 401


def test_a_list_leads_into_the_feed(everyone: Reader) -> None:
    changes = everyone.page()["changes"]
    key = everyone.conversation("default")
    events: list[dict[str, Any]] = []
    while not any(each["conversation_id"] == key for each in events):
        answer = everyone.get("/changes/", after=changes, wait=5).json()
        events, changes = events + answer["items"], answer["cursor"]
    assert [each["type"] for each in events if each["conversation_id"] == key] == ["conversation.opened"]


def test_who_has_a_list_already_gets_no_second_one(everyone: Reader) -> None:
    first = everyone.get("/conversations/", source="shop", limit=5)
    everyone.conversation("store")
    again = everyone.get("/conversations/", first.headers["ETag"], source="shop", limit=5)
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert "Content-Length" not in again.headers
    everyone.conversation("shop")
    assert everyone.get("/conversations/", first.headers["ETag"], source="shop", limit=5).status_code == 200


def test_who_has_a_conversation_already_gets_no_second_one(everyone: Reader) -> None:
    key = everyone.conversation("default", "um")
    path = f"/conversations/{key}/"
    tag = everyone.get(path).headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        assert everyone.get(path, known).status_code == 304
    assert everyone.get(path, '"other"').status_code == 200
    assert everyone.get(path, tag, messages=1).status_code == 200, "that is another answer"
    for change in (
        lambda: everyone.say(key, "dois"),
        lambda: everyone.post("CLOSE_CONVERSATION", "default", id=key),
    ):
        change()
        answer = everyone.get(path, tag)
        assert (answer.status_code, answer.headers["ETag"] != tag) == (200, True)
        tag = answer.headers["ETag"]
    assert everyone.get(f"/conversations/{uuid4()}/", "*").status_code == 404


def test_the_last_messages_of_a_conversation(everyone: Reader) -> None:
    key = everyone.conversation("default", *(f"Mensagem {number}" for number in range(6)), closed=True)
    whole = everyone.get(f"/conversations/{key}/").json()
    for most in (0, 1, 3, 7, 1000):
        answer = everyone.get(f"/conversations/{key}/", messages=most)
        assert answer.json() == {**whole, "messages": whole["messages"][-most:] if most else []}
        assert everyone.get(f"/conversations/{key}/", answer.headers["ETag"], messages=most).status_code == 304
    assert everyone.get(f"/conversations/{key}/?messages=2&messages=3").json()["code"] == "invalid_query"
    assert everyone.get(f"/conversations/{key}/", messages=1001).json()["errors"][0]["field"] == "messages"
    assert everyone.get(f"/conversations/{key}/?whatever=1&source=").json() == whole, "as ever"


def test_the_last_messages_of_a_conversation_that_is_read_in_portions(everyone: Reader) -> None:
    key = everyone.conversation("default", *("é" * 65_000 for _ in range(50)))
    answer = everyone.get(f"/conversations/{key}/", messages=45).json()
    whole = everyone.get(f"/conversations/{key}/").json()
    assert answer["messages"] == whole["messages"][-45:]
    assert len(whole["messages"]) == 50


@pytest.mark.parametrize(
    "query",
    [
        "stat=OPEN",
        "status=PENDING",
        "order=active",
        "limit=0",
        "limit=201",
        "updated_since=yesterday",
        "cursor=x",
        "order=id&order=id",
    ],
)
def test_a_wrong_parameter_is_named(everyone: Reader, query: str) -> None:
    answer = everyone.get(f"/conversations/?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_query")
    assert {error["field"] for error in answer.json()["errors"]} == {query.partition("=")[0]}


def test_a_cursor_is_good_for_its_own_list_only(everyone: Reader) -> None:
    for _ in range(2):
        everyone.conversation("walked")
    following = everyone.page(limit=1, source="walked", status="OPEN")["next"] or ""
    assert everyone.get(following).status_code == 200
    assert everyone.get(following.replace("limit=1", "limit=2")).status_code == 200
    for other in (following.replace("walked", "shop"), following.replace("OPEN", "CLOSED"), following + "&order=id"):
        answer = everyone.get(other)
        assert answer.status_code == 400
        assert "another" in answer.text or "other parameters" in answer.text
