"""The console's API over HTTP, with all services running: who may call what, and what each call does."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

import described
from installation import event
from reading import Client, begun_with_tokens, tokens_of
from realmate.console.application import API
from realmate.feed.cursors import encoded
from receivers import until
from signatures import SECRET, signature

SOURCES = f"""
[sources.shop]
[sources.shop.signing]
scheme = "standard-webhooks"
secrets = [{{ value = "{SECRET}" }}]
[sources.open]
[sources.other]
"""
HOLDERS: dict[str, tuple[list[str], list[str]]] = {
    "reader": (["read"], []),
    "operator": (["operate"], []),
    "operator of open": (["read", "operate"], ["open"]),
    "admin": (["admin"], []),
}
UNKNOWN = "6a41b347-8d80-4ce9-84ba-7af66f369f6a"


class Console:
    def __init__(self, url: str, held: dict[str, str]) -> None:
        self.url = url
        self.held = held

    def call(self, method: str, path: str, holder: str = "admin", **others: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.held[holder]}"} | others.pop("headers", {})
        return asked(method, self.url + path, headers=headers, **others)

    def post(self, source: str, body: str) -> requests.Response:
        return requests.post(f"{self.url}/webhook/{source}/", data=body, timeout=30)

    def rejections(self, holder: str = "admin", **filters: Any) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.call("GET", "/admin/rejections/", holder, params=filters).json()["items"]
        return items

    def expire(self, source: str = "open") -> str:
        """Let a message expire; the id of its conversation."""
        key = str(uuid.uuid4())
        body = json.dumps(event("NEW_MESSAGE", id=str(uuid.uuid4()), conversation_id=key, content="Olá"))
        assert self.post(source, body).status_code == 202
        until(lambda: self.rejections(conversation=key))
        return key


def asked(method: str, url: str, *, by: Any = requests, **others: Any) -> requests.Response:
    """Return the answer, which must be one that the API's document describes. `by` may be a requests.Session."""
    answer: requests.Response = by.request(method, url, timeout=30, **others)
    is_json = "json" in answer.headers.get("Content-Type", "")
    body = answer.json() if is_json else answer.text
    described.check(method, urlsplit(url).path, answer.status_code, answer.headers, body)
    return answer


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    directory = tmp_path_factory.mktemp("console")
    held, entries = tokens_of(HOLDERS)
    with begun_with_tokens(
        directory, SOURCES, entries, held["reader"], console=True, HOLD_TOLERANCE_S="0.5"
    ) as installation:
        yield Console(Client(installation).url, held)


# --- who may call ---


@pytest.mark.parametrize("route", API, ids=lambda route: f"{route.method} {route.path}")
def test_a_call_needs_its_scope(console: Console, route: Any) -> None:
    path = route.path.replace("<int:number>", "1").replace("<name>", "open").replace("<source>", "open")
    path = path.replace("<job_id>", UNKNOWN).replace("<conversation>", UNKNOWN)
    assert asked(route.method, console.url + path).status_code == 401
    for holder, (scopes, _) in HOLDERS.items():
        may = route.scope in scopes or (route.scope == "operate" and "admin" in scopes)
        status = console.call(route.method, path, holder, data="{}").status_code
        assert (status == 403) is not may, (holder, status)
        assert status < 500


def test_a_token_sees_its_own_sources_alone(console: Console) -> None:
    console.post("other", "no json")
    hers = until(lambda: console.rejections(source="other"))[0]
    console.post("open", "no json")
    until(lambda: console.rejections("operator of open"))
    assert {each["source"] for each in console.rejections("operator of open")} == {"open"}
    assert console.call("GET", f"/admin/rejections/{hers['id']}/", "operator of open").status_code == 404
    assert console.rejections("operator of open", source="other") == []
    names = [each["name"] for each in console.call("GET", "/admin/sources/", "operator of open").json()["items"]]
    assert names == ["open"]
    assert console.call("POST", "/admin/sources/other/verify", "operator of open", data="{}").status_code == 404
    answer = console.call("POST", "/admin/replays/", "operator of open", json={"source": "other"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "source")


# --- the description ---


def test_the_document_is_shown_to_anyone_as_it_stands_in_the_repository(console: Console) -> None:
    answer = asked("GET", f"{console.url}/admin/openapi.json")
    assert (answer.status_code, answer.json()) == (200, described.DOCUMENT)


# --- signing in ---


def test_a_browser_signs_in_with_a_token_and_its_cookie_is_one_everywhere(console: Console) -> None:
    browser = requests.Session()
    session = f"{console.url}/console/session"
    assert asked("GET", session, by=browser).status_code == 401
    answer = asked(
        "POST",
        session,
        by=browser,
        json={"token": console.held["operator of open"]},
        headers={"X-Realmate-Console": "1", "Origin": console.url},
    )
    signed_in = {"name": "operator of open", "scopes": ["operate", "read"], "sources": ["open"], "open": False}
    assert answer.json() == signed_in
    assert asked("GET", session, by=browser).json() == signed_in
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("realmate=rmt_")
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert browser.get(f"{console.url}/conversations/", timeout=30).status_code == 200
    assert browser.get(f"{console.url}/admin/rejections/", timeout=30).status_code == 200
    assert browser.get(f"{console.url}/admin/audit/", timeout=30).status_code == 403
    assert asked("DELETE", session, by=browser, headers={"X-Realmate-Console": "1"}).status_code == 204
    assert browser.get(f"{console.url}/conversations/", timeout=30).status_code == 401


def test_behind_tls_the_cookie_is_for_tls_alone_and_without_it_there_is_none(console: Console) -> None:
    def sign_in(**headers: str) -> requests.Response:
        url, token = f"{console.url}/console/session", console.held["reader"]
        return asked("POST", url, json={"token": token}, headers={"X-Realmate-Console": "1"} | headers)

    cookie = sign_in(**{"X-Forwarded-Proto": "https", "Host": "realmate.example"}).headers["set-cookie"]
    assert cookie.startswith("__Host-realmate=rmt_")
    assert "Secure" in cookie.split("; ")
    rejected = sign_in(Host="realmate.example")
    assert (rejected.status_code, rejected.json()["code"]) == (403, "tls_needed")


def test_another_page_can_change_nothing(console: Console) -> None:
    cookies = {"realmate": console.held["admin"]}
    url = f"{console.url}/admin/erasures/"
    for headers in ({}, {"X-Realmate-Console": "1", "Origin": "https://evil.example"}, {"Origin": console.url}):
        answer = asked("POST", url, data="{}", cookies=cookies, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "not_from_the_page")
    ours = {"X-Realmate-Console": "1", "Origin": console.url}
    assert asked("POST", url, data="{}", cookies=cookies, headers=ours).status_code == 400


def test_tries_to_sign_in_are_limited_by_address(console: Console) -> None:
    def attempt(address: str) -> requests.Response:
        headers = {"X-Realmate-Console": "1", "X-Forwarded-For": f"1.2.3.4, {address}"}
        return asked("POST", f"{console.url}/console/session", json={"token": "x"}, headers=headers)

    answers = [attempt("192.0.2.1").status_code for _ in range(12)]
    assert answers[:10] == [401] * 10
    assert 429 in answers[10:]
    assert attempt("192.0.2.2").status_code == 401


# --- rejections ---


def test_rejections_are_found_by_every_filter_page_by_page(console: Console) -> None:
    key = str(uuid.uuid4())
    for _ in range(3):
        console.post("open", json.dumps(event("CLOSE_CONVERSATION", id=key)))
    found = until(lambda: len(each := console.rejections(conversation=key)) == 3 and each)
    assert {each["code"] for each in found} == {"conversation_not_found"}
    assert [each["id"] for each in found] == sorted((each["id"] for each in found), reverse=True), "the newest first"
    assert console.rejections(conversation=key, source=["open", "shop"], code=["conversation_not_found", "x"]) == found
    assert console.rejections(conversation=key, code="invalid_json") == []
    assert console.rejections(conversation=key, until=found[-1]["at"]) == []
    assert console.rejections(conversation=key, since=found[0]["at"]) == found[:1]
    assert console.rejections(conversation=key, replayed="true") == []
    assert console.rejections(conversation=key, replayed="false") == found
    path, paged = f"/admin/rejections/?conversation={key}&limit=1", []
    while path:
        page = console.call("GET", path).json()
        paged += page["items"]
        path = page["next"]
    assert paged == found
    codes = console.call("GET", "/admin/rejections/codes/").json()["items"]
    assert "conversation_not_found" in codes


@pytest.mark.parametrize(
    "query",
    [
        *("sorce=open", "limit=0", "since=now", "replayed=1", "conversation=1", "until=x", "source=%00", "code=%00"),
        *(f"cursor={cursor}" for cursor in ("x", encoded(b'["now",1]'), encoded(b"[" * 9_000))),
    ],
)
def test_a_wrong_query_is_named(console: Console, query: str) -> None:
    answer = console.call("GET", f"/admin/rejections/?{query}")
    fields = [each["field"] for each in answer.json()["errors"]]
    assert (answer.status_code, fields) == (400, [query.partition("=")[0]])


@pytest.mark.parametrize("number", ["999999", str(2**63), "-1", "x"])
def test_a_rejection_that_is_not_there_is_not_found(console: Console, number: str) -> None:
    assert console.call("GET", f"/admin/rejections/{number}/").status_code == 404


def test_one_is_shown_with_its_event_and_the_fields_that_were_wrong_and_that_is_audited(console: Console) -> None:
    body = json.dumps({"type": "NEW_MESSAGE", "timestamp": "yesterday", "data": {}, "note": f"{uuid.uuid4()} é"})
    console.post("open", body)
    newest = until(lambda: [each for each in console.rejections(code="invalid_event") if each["source"] == "open"])[0]
    shown = console.call("GET", f"/admin/rejections/{newest['id']}/", "operator of open").json()
    assert (shown["body"], shown["body_base64"]) == (body, None)
    assert {each["field"] for each in shown["errors"]} >= {"timestamp", "data.id"}
    [line] = [each for each in audit(console) if each["target"] == str(newest["id"])]
    assert (line["who"], line["action"], line["source"]) == ("operator of open", "rejection.read", "open")


def test_an_event_that_is_no_text_is_shown_with_its_bytes(console: Console) -> None:
    body = b"{\xff" + uuid.uuid4().bytes
    requests.post(f"{console.url}/webhook/open/", data=body, timeout=30)
    newest = until(lambda: [each for each in console.rejections(code="invalid_json") if each["source"] == "open"])[0]
    shown = console.call("GET", f"/admin/rejections/{newest['id']}/").json()
    assert base64.b64decode(shown["body_base64"]) == body
    assert shown["body"].startswith("{\ufffd")


def audit(console: Console, **filters: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = console.call("GET", "/admin/audit/", params=filters).json()["items"]
    return items


@pytest.mark.parametrize("path", ["/admin/audit/", "/admin/erasures/", "/admin/replays/"])
def test_a_cursor_that_no_list_gave_is_named(console: Console, path: str) -> None:
    for held in (b"[]", b"[99999999999999999999]", b'["2026-11-27T00:00:00Z","x"]'):
        answer = console.call("GET", path, params={"cursor": encoded(held)})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "cursor")


# --- replays ---


def test_a_replay_is_counted_and_then_sent_by_the_front_door_once(console: Console) -> None:
    key = console.expire()
    assert console.post("open", json.dumps(event("NEW_CONVERSATION", id=key))).ok
    dry = console.call("POST", "/admin/replays/", json={"conversation": key}).json()
    assert dry == {"counts": [{"code": "expired", "events": 1, "action": "with_new_id"}], "to_send": 1}
    asked = {"conversation": key, "dry_run": False}
    again = {"Idempotency-Key": str(uuid.uuid4())}
    started = console.call("POST", "/admin/replays/", json=asked, headers=again)
    assert started.status_code == 202
    assert console.call("POST", "/admin/replays/", json=asked, headers=again).json()["id"] == started.json()["id"]
    for path, other in (("replays", asked | {"rate": 7}), ("erasures", {"source": "open", "confirm": "open"})):
        answer = console.call("POST", f"/admin/{path}/", json=other, headers=again)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "Idempotency-Key")
    job = until(lambda: ended(console, started.headers["Location"]))
    assert (job["state"], job["sent"], job["answers"], job["by"]) == ("done", 1, {"202 accepted": 1}, "admin")
    [rejection] = console.rejections(conversation=key)
    assert rejection["replay"]["status"] == 202
    assert console.call("POST", "/admin/replays/", json={"conversation": key}).json()["to_send"] == 0
    conversation = console.call("GET", f"/conversations/{key}/?source=open", "reader").json()
    assert [each["content"] for each in conversation["messages"] if each["type"] == "INBOUND"] == ["Olá"]
    assert [each["action"] for each in audit(console) if each["target"] == job["id"]] == ["replay.start"]
    assert job["id"] in {each["id"] for each in console.call("GET", "/admin/replays/").json()["items"]}


def ended(console: Console, path: str) -> dict[str, Any] | None:
    job: dict[str, Any] = console.call("GET", path).json()
    return None if job["state"] == "running" else job


def test_a_replay_can_be_stopped(console: Console) -> None:
    key = str(uuid.uuid4())
    for _ in range(8):
        console.post("open", json.dumps(event("CLOSE_CONVERSATION", id=key)))
    until(lambda: len(console.rejections(conversation=key)) == 8)
    started = console.call("POST", "/admin/replays/", json={"conversation": key, "dry_run": False, "rate": 1})
    path = started.headers["Location"]
    until(lambda: console.call("GET", path).json()["sent"] >= 1)
    assert console.call("DELETE", path).json()["state"] == "cancelled"
    time.sleep(2)
    sent = console.call("GET", path).json()["sent"]
    time.sleep(2)
    job = console.call("GET", path).json()
    assert job["sent"] == sent < 8
    assert job["state"] == "cancelled"


def test_a_body_that_is_wrong_is_named(console: Console) -> None:
    wrong = {"rate": 0, "conversation": "", "until": "x", "source": "\0", "codes": "\0"}
    for field, body in ((field, {field: value}) for field, value in wrong.items()):
        answer = console.call("POST", "/admin/replays/", json=body)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, field)
    assert console.call("POST", "/admin/replays/", json={"sorce": "open"}).status_code == 400
    assert console.call("POST", "/admin/replays/", data="{").status_code == 400


# --- sources ---


def test_a_source_says_whether_it_would_take_a_request_and_else_why_not(console: Console) -> None:
    body = json.dumps(event("NEW_CONVERSATION", id=str(uuid.uuid4())))

    def verify(source: str, headers: dict[str, str], body: str = body) -> dict[str, Any]:
        path = f"/admin/sources/{source}/verify"
        told: dict[str, Any] = console.call("POST", path, json={"headers": headers, "body": body}).json()
        return told

    headers = signature(body.encode())
    assert verify("shop", headers)["accepted"]
    assert not verify("shop", {})["accepted"]
    assert "missing" in verify("shop", {})["detail"]
    assert "No v1 signature" in verify("shop", headers, body + " ")["detail"]
    assert verify("open", {}, "{")["code"] == "invalid_json"


def test_sources_tell_their_settings_without_secrets_and_how_they_fare(console: Console) -> None:
    key = str(uuid.uuid4())
    assert console.post("open", json.dumps(event("NEW_CONVERSATION", id=key))).ok
    console.post("open", "no json")

    def shown(name: str) -> dict[str, Any]:
        answer = console.call("GET", "/admin/sources/", "operator")
        assert "whsec_" not in answer.text
        return {each["name"]: each for each in answer.json()["items"]}[name]

    fares = until(lambda: (each := shown("open"))["accepted"]["day"] > 0 and each)
    assert fares["last_event_at"]
    assert fares["accepted"]["day"] == sum(fares["accepted"]["hours"])
    assert fares["rejected"]["day"]["invalid_json"] >= 1
    assert (shown("shop")["signature"], shown("open")["signature"]) == ("standard-webhooks", None)


# --- erasing, export, overview ---


def test_a_conversation_is_exported_and_erased_and_both_are_audited(console: Console) -> None:
    key = console.expire()
    console.post("open", json.dumps(event("NEW_CONVERSATION", id=key)))
    export = console.call("GET", f"/admin/conversations/open/{key}/export")
    assert [each["type"] for each in export.json()["messages"]] == ["EXPIRED"]
    assert [each["code"] for each in export.json()["rejections"]] == ["expired"]
    started = console.call("POST", "/admin/erasures/", json={"source": "open", "conversation": key})
    job = until(lambda: ended(console, started.headers["Location"]))
    assert (job["state"], job["erased"]["conversations"]) == ("done", 1)
    assert console.rejections(conversation=key) == []
    assert console.call("GET", f"/admin/conversations/open/{key}/export").status_code == 404
    actions = [each["action"] for each in audit(console) if each["target"] == key]
    assert actions == ["erasure.start", "conversation.export"], "the newest first"
    assert console.call("GET", "/admin/erasures/").json()["items"][0]["source"] == "open"


def test_a_whole_source_is_erased_when_its_name_is_said_twice(console: Console) -> None:
    console.post("other", json.dumps(event("NEW_CONVERSATION", id=str(uuid.uuid4()))))
    assert console.call("POST", "/admin/erasures/", json={"source": "other"}).status_code == 400
    started = console.call("POST", "/admin/erasures/", json={"source": "other", "confirm": "other"})
    job = until(lambda: ended(console, started.headers["Location"]))
    assert (job["state"], job["erased"]["conversations"]) == ("done", 1)


def test_the_overview_tells_what_waits(console: Console) -> None:
    told = console.call("GET", "/admin/overview", "operator").json()
    assert told["feed"] == "complete"
    assert told["schema"] == told["schema_of_version"]
