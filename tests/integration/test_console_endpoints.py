"""The console's API about endpoints, with all services running and real receivers: what it shows, and what it does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
import requests

import described
from reading import Client, begun_with_tokens, tokens_of
from realmate.feed.cursors import encoded
from receivers import Answer, Receiver, receiving, until
from signatures import SECRET

HOLDERS: dict[str, tuple[list[str], list[str]]] = {
    "everyone": (["read"], []),
    "operator": (["operate"], []),
    "operator of shop": (["operate"], ["shop"]),
    "operator of open": (["operate"], ["open"]),
    "admin": (["admin"], []),
}
SECTION = """
[endpoints.{name}]
url = "{url}"
secrets = [{{ {secret} }}]
allow_private = true
timeout_s = 5
"""
CONTENT = "Quero alugar um apartamento."


@dataclass
class Outlook:
    client: Client
    held: dict[str, str]
    crm: Receiver
    """It is told of all sources, and its retries come after an hour."""
    shop: Receiver
    """It is told of the source `shop`, and one failure is the last one."""

    def call(self, method: str, path: str, holder: str = "operator", **others: Any) -> requests.Response:
        """Return the answer, which must be one that the API's document describes."""
        headers = {"Authorization": f"Bearer {self.held[holder]}"}
        answer = requests.request(method, self.client.url + path, headers=headers, timeout=30, **others)
        described.check(method, urlsplit(path).path, answer.status_code, answer.headers, answer.json())
        assert SECRET not in answer.text
        assert CONTENT not in answer.text
        return answer

    def endpoints(self, holder: str = "operator") -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.call("GET", "/admin/endpoints/", holder).json()["items"]}

    def deliveries(self, name: str = "crm", holder: str = "operator", **query: Any) -> list[dict[str, Any]]:
        path = f"/admin/endpoints/{name}/deliveries/"
        items: list[dict[str, Any]] = self.call("GET", path, holder, params=query).json()["items"]
        return items

    def about(self, key: str, name: str = "crm", **query: Any) -> list[dict[str, Any]]:
        return [each for each in self.deliveries(name, **query) if each["conversation_id"] == key]

    def deed(self, what: str, holder: str = "operator") -> requests.Response:
        return self.call("POST", f"/admin/endpoints/{what}", holder)

    def audit(self, action: str) -> list[dict[str, Any]]:
        lines = self.call("GET", "/admin/audit/", "admin", params={"action": action}).json()["items"]
        return [{name: line[name] for name in ("who", "target", "source", "outcome")} for line in lines]


@pytest.fixture(scope="module")
def outlook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outlook]:
    directory = tmp_path_factory.mktemp("endpoints")
    held, entries = tokens_of(HOLDERS)
    with receiving() as crm, receiving() as shop:
        secret = f'value = "{SECRET}"'
        sources = "[sources.shop]\n[sources.open]\n" + SECTION.format(name="crm", url=crm.url, secret=secret)
        sources += "schedule = [3600, 3600, 3600]\n" + SECTION.format(name="shop", url=shop.url, secret=secret)
        sources += 'sources = ["shop"]\nschedule = []\n'
        with begun_with_tokens(
            directory, sources, entries, held["everyone"], console=True, deliveries=1
        ) as installation:
            outlook = Outlook(Client(installation, held["everyone"]), held, crm, shop)
            until(lambda: [each["state"] for each in outlook.endpoints().values()] == ["delivering"] * 2)
            time.sleep(1)  # deliveries looks at the file each second, and then follows the feed for them
            yield outlook


@pytest.fixture(autouse=True)
def well(outlook: Outlook) -> Iterator[None]:
    """Begin and end each test with receivers that take everything, and endpoints that go on."""
    yield
    for receiver in (outlook.crm, outlook.shop):
        receiver.answer = lambda _: Answer()
    for name in ("crm", "shop"):
        outlook.deed(f"{name}/resume")
    until(lambda: not any(each["waiting"] for each in outlook.endpoints().values()))
    for receiver in (outlook.crm, outlook.shop):
        receiver.requests.clear()


def failing(outlook: Outlook) -> str:
    """Let one event fail at `crm`; the id of its conversation."""
    outlook.crm.answer = lambda _: Answer(500, b"the disk is full")
    key = outlook.client.opened("open")
    until(lambda: outlook.about(key))
    return key


def test_an_endpoint_is_listed_with_how_it_fares(outlook: Outlook) -> None:
    outlook.client.opened("open")
    well = until(lambda: (each := outlook.endpoints()["crm"])["last_success"] and each)
    assert (well["state"], well["url"], well["enabled"]) == ("delivering", outlook.crm.url, True)
    assert (well["last_success"]["status"], well["last_success"]["outcome"]) == (204, "delivered")
    failing(outlook)
    crm = until(lambda: (each := outlook.endpoints()["crm"])["state"] == "failing" and each)
    failure = crm["last_failure"]
    assert (failure["status"], failure["failure"], failure["answer"]) == (500, "status 500", "the disk is full")
    assert (crm["waiting"], crm["pause_reason"], crm["behind"]) == (1, None, 0)
    assert crm["next_attempt_at"] > crm["since"]
    assert crm["day"]["failed"] >= 1 <= crm["day"]["delivered"]
    assert (crm["events"], crm["sources"], outlook.endpoints()["shop"]["sources"]) == (None, None, ["shop"])


def test_attempts_and_what_waits_are_listed_without_contents(outlook: Outlook) -> None:
    key = failing(outlook)
    outlook.client.say(key, CONTENT, "open")
    [attempt] = outlook.about(key)
    assert (attempt["type"], attempt["source"], attempt["attempts"]) == ("conversation.opened", "open", 1)
    assert (attempt["pending"], attempt["attempt"]["outcome"]) == (True, "failed")
    [waits] = outlook.about(key, show="pending")
    assert (waits["event_id"], waits["next_attempt_at"]) == (attempt["event_id"], attempt["next_attempt_at"])
    assert waits["attempt"] == attempt["attempt"]
    assert outlook.about(key, show="failures") == [attempt]
    assert outlook.crm.told(key) == ["conversation.opened"]


@pytest.mark.parametrize("show", ["attempts", "failures", "pending"])
def test_the_lists_come_in_pages(outlook: Outlook, show: str) -> None:
    for _ in range(3):
        failing(outlook)
    whole = outlook.deliveries(show=show)
    assert len(whole) >= 3
    path, paged = f"/admin/endpoints/crm/deliveries/?show={show}&limit=1", []
    while path:
        page = outlook.call("GET", path).json()
        paged += page["items"]
        path = page["next"]
    assert paged == whole


@pytest.mark.parametrize("query", ["show=all", "limit=0", "cursor=x", f"show=pending&cursor={encoded(b'[1]')}", "x=1"])
def test_a_wrong_query_is_named(outlook: Outlook, query: str) -> None:
    answer = outlook.call("GET", f"/admin/endpoints/crm/deliveries/?{query}")
    fields = [each["field"] for each in answer.json()["errors"]]
    assert (answer.status_code, fields) == (400, [query.rpartition("&")[2].partition("=")[0]])


def test_pausing_and_resuming_are_audited_once_for_each_deed(outlook: Outlook) -> None:
    before = len(outlook.audit("endpoint.pause")), len(outlook.audit("endpoint.resume"))
    key = failing(outlook)
    paused = outlook.deed("crm/pause").json()
    assert (paused["state"], paused["pause_reason"]) == ("paused", "asked")
    assert outlook.deed("crm/pause").json() == paused
    outlook.crm.answer = lambda _: Answer()
    outlook.crm.requests.clear()
    later = outlook.client.opened("open")
    time.sleep(1)
    assert outlook.crm.requests == []
    assert outlook.deed("crm/resume").json()["state"] == "delivering"
    until(lambda: outlook.crm.told(key) and outlook.crm.told(later))
    line = {"who": "operator", "target": "crm", "source": None, "outcome": "done"}
    assert outlook.audit("endpoint.pause")[0] == outlook.audit("endpoint.resume")[0] == line
    after = len(outlook.audit("endpoint.pause")), len(outlook.audit("endpoint.resume"))
    assert after == (before[0] + 1, before[1] + 1)


def test_a_test_sends_a_sample_that_is_signed_and_shows_the_answer(outlook: Outlook) -> None:
    outlook.deed("crm/pause")
    tried = outlook.deed("crm/test").json()
    assert (tried["delivered"], tried["status"], tried["type"]) == (True, 204, "conversation.opened")
    [got] = outlook.crm.requests
    assert (got.id, outlook.crm.forged) == (tried["event_id"], 0)
    outlook.crm.answer = lambda _: Answer(401, b"who are you?")
    tried = outlook.deed("crm/test").json()
    assert (tried["delivered"], tried["status"], tried["answer"]) == (False, 401, "who are you?")
    assert [each["outcome"] for each in outlook.audit("endpoint.test")[:2]] == ["status 401", "status 204"]
    assert all(each["event_id"] != tried["event_id"] for each in outlook.deliveries())


def retry(outlook: Outlook, name: str, number: int, holder: str = "operator") -> requests.Response:
    return outlook.deed(f"{name}/deliveries/{number}/retry", holder)


def test_a_pending_event_is_sent_again_at_once(outlook: Outlook) -> None:
    key = failing(outlook)
    [attempt] = outlook.about(key)
    outlook.crm.answer = lambda _: Answer()
    answer = retry(outlook, "crm", attempt["attempt"]["id"])
    assert (answer.status_code, answer.json()) == (202, {"event_id": attempt["event_id"], "paused": False})
    until(lambda: outlook.crm.told(key, only_taken=True) == ["conversation.opened"])
    until(lambda: not outlook.about(key, show="pending"))
    assert [each["attempt"]["number"] for each in outlook.about(key)] == [2, 1]
    line = {"who": "operator", "target": f"crm {attempt['event_id']}", "source": "open", "outcome": "done"}
    assert outlook.audit("delivery.retry")[0] == line


def test_an_event_that_was_delivered_is_sent_again_with_the_same_id(outlook: Outlook) -> None:
    key = outlook.client.opened("open")
    [attempt] = until(lambda: outlook.about(key))
    retry(outlook, "crm", attempt["attempt"]["id"])
    until(lambda: outlook.crm.told(key) == ["conversation.opened"] * 2)
    ids = {each.id for each in outlook.crm.requests if each.event["conversation_id"] == key}
    assert ids == {attempt["event_id"]}


def test_an_event_that_was_given_up_is_sent_again_once_however_often_that_is_asked(outlook: Outlook) -> None:
    outlook.shop.answer = lambda _: Answer(400, b"no")
    key = outlook.client.opened("shop")
    [attempt] = until(lambda: outlook.about(key, "shop"))
    assert (attempt["pending"], attempt["attempt"]["outcome"]) == (False, "given_up")
    outlook.shop.answer = lambda _: Answer()
    outlook.deed("shop/pause")
    for _ in range(2):
        assert retry(outlook, "shop", attempt["attempt"]["id"]).json()["paused"]
    outlook.deed("shop/resume")
    until(lambda: outlook.shop.told(key, only_taken=True))
    until(lambda: not outlook.about(key, "shop", show="pending"))
    assert outlook.shop.told(key, only_taken=True) == ["conversation.opened gap"]


def test_what_is_not_there_cannot_be_sent_again(outlook: Outlook) -> None:
    key = outlook.client.opened("open")
    [attempt] = until(lambda: outlook.about(key))
    for name, number in (("crm", 2**62), ("crm", 2**63), ("shop", attempt["attempt"]["id"]), ("erp", 1)):
        assert retry(outlook, name, number).status_code == 404
    for what in ("erp/pause", "erp/resume", "erp/test"):
        assert outlook.deed(what).status_code == 404


def test_a_token_with_sources_sees_the_endpoints_of_those_sources_alone(outlook: Outlook) -> None:
    key = outlook.client.opened("shop")
    [hers] = until(lambda: outlook.about(key, "shop"))
    [other] = until(lambda: outlook.about(key, "crm"))
    assert set(outlook.endpoints("operator of shop")) == {"shop"}
    assert outlook.endpoints("operator of open") == {}
    assert outlook.deliveries("shop", "operator of shop")
    assert retry(outlook, "shop", hers["attempt"]["id"], "operator of shop").status_code == 202
    assert retry(outlook, "crm", other["attempt"]["id"], "operator of shop").status_code == 404
    for what in ("pause", "resume", "test"):
        assert outlook.deed(f"crm/{what}", "operator of shop").status_code == 404
        assert outlook.deed(f"shop/{what}", "operator of open").status_code == 404
    assert outlook.call("GET", "/admin/endpoints/crm/deliveries/", "operator of shop").status_code == 404


def test_beyond_the_feed_resuming_says_what_to_do(outlook: Outlook) -> None:
    outlook.deed("shop/pause")
    last = outlook.client.opened("open")
    until(lambda: outlook.crm.told(last) and outlook.endpoints()["crm"]["behind"] == 0)
    execute(outlook, "DELETE FROM changes WHERE position < (SELECT position FROM feed)")
    answer = outlook.deed("shop/resume")
    assert (answer.status_code, answer.json()["code"]) == (409, "feed_expired")
    assert "realmate endpoints recover shop --since 20" in answer.json()["detail"]
    assert outlook.endpoints()["shop"]["state"] == "paused"
    # For the tests after this one, its place is made that of `crm`:
    execute(
        outlook,
        "UPDATE endpoint_cursors AS here SET cursor = there.cursor, position = there.position"
        " FROM endpoint_cursors AS there JOIN endpoints AS crm ON crm.id = there.endpoint_id AND crm.name = 'crm'"
        " WHERE here.endpoint_id = (SELECT id FROM endpoints WHERE name = 'shop')",
    )


def execute(outlook: Outlook, statement: str) -> None:
    connection = psycopg2.connect(outlook.client.installation.postgres.url)
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(statement)
