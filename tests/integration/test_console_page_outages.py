"""Services are killed under the open page, all replicas of one at once. The page says so, heals, and shows all once."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import Page, expect

from console_page import Visitor, chromium, part
from installation import event
from replicas import Edge, Replicas, start_replicas

PATIENCE_MS = 40_000
ALL_PAGES_ARE_THERE = """() => {
    const files = performance.getEntriesByType('resource').map(file => file.name).filter(name => /Page-/.test(name));
    return new Set(files).size >= 8 }"""


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with start_replicas(tmp_path_factory.mktemp("replicas"), "redis", console=True) as started:
        yield started


@pytest.fixture(scope="module")
def url(replicas: Replicas) -> Iterator[str]:
    with Edge(replicas) as edge:
        yield edge.url


@pytest.fixture(scope="module")
def visitor(url: str) -> Iterator[Visitor]:
    with chromium() as browser:
        yield Visitor(browser, url)


def insist(url: str, kind: str, **data: str) -> None:
    """Send an event until it is taken, as a sender does."""
    for _ in range(200):
        answer = requests.post(f"{url}/webhook/", data=json.dumps(event(kind, **data)), timeout=30)
        if answer.ok:
            return
        assert answer.status_code == 503, answer.text
    raise AssertionError("nobody takes the event")


def say(url: str, key: str) -> str:
    message = str(uuid.uuid4())
    insist(url, "NEW_MESSAGE", id=message, conversation_id=key, content="Olá")
    return message


def expect_each_once(page: Page, messages: list[str]) -> None:
    for message in messages:
        expect(page.locator(part("message", id=message))).to_have_count(1, timeout=PATIENCE_MS)
    ids = page.eval_on_selector_all(part("message"), "all => all.map(one => one.dataset.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("victims", ["query", "console", "webhook", "conversations"])
def test_the_page_heals_when_a_service_is_killed_under_it(
    visitor: Visitor, replicas: Replicas, url: str, victims: str
) -> None:
    key = str(uuid.uuid4())
    insist(url, "NEW_CONVERSATION", id=key)
    page = visitor.go(f"#/conversations/default/{key}")
    state = page.locator(part("connection-state"))
    expect(state).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)
    messages = [say(url, key)]
    expect_each_once(page, messages)
    killed = getattr(replicas, victims)
    for service in killed:
        service.kill()
    if victims == "query":
        expect(state).to_have_attribute("data-state", "reconnecting", timeout=PATIENCE_MS)
        messages.append(say(url, key))
    for service in killed:
        service.start()
    for service in killed:
        service.wait_ready()
    messages.append(say(url, key))
    expect(state).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)
    expect_each_once(page, messages)
    expect(page.locator(part("message", type="OUTBOUND"))).not_to_have_count(0, timeout=PATIENCE_MS)
    page.reload()
    expect_each_once(page, messages)
    for name in ("sources", "rejected", "audit"):
        page.click(part(f"nav-{name}"))
        page.wait_for_selector("h1")
        expect(page.get_by_role("alert")).to_have_count(0, timeout=PATIENCE_MS)
    assert not visitor.errors


def test_a_page_that_is_opened_while_all_is_away_comes_back(visitor: Visitor, replicas: Replicas) -> None:
    page = visitor.go("#/rejected")
    page.wait_for_selector("h1")
    page.wait_for_function(ALL_PAGES_ARE_THERE)
    for service in (*replicas.console, *replicas.query):
        service.kill()
    page.click(part("nav-sources"))
    expect(page.get_by_role("alert")).to_be_visible(timeout=PATIENCE_MS)
    page.click(part("nav-conversations"))
    expect(page.get_by_role("alert")).to_be_visible(timeout=PATIENCE_MS)
    for service in (*replicas.console, *replicas.query):
        service.start()
    expect(page.get_by_role("alert")).to_have_count(0, timeout=PATIENCE_MS)
    expect(page.locator(f"{part('conversation-row')}, {part('empty')}")).not_to_have_count(0, timeout=PATIENCE_MS)
