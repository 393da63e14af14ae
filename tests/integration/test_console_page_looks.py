"""Each page of the console, full and empty, in both themes, wide, narrow and enlarged: it fits, and axe finds nothing.

With SCREENSHOTS set to a directory, a picture of each is written there (`make screenshots`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from console_demo import Demo, chat, fill, start_demo
from console_page import Theme, Visitor, chromium, part
from receivers import Answer, receiving

PICTURES = os.environ.get("SCREENSHOTS")
SIZES = {"wide": (1440, 900), "narrow": (320, 640), "enlarged": (720, 450)}
"""The last is a window of 1,440 x 900 at 200 %."""
LANGUAGES: dict[Theme, str] = {"light": "en-US", "dark": "pt-BR"}
LOOKS: list[tuple[Theme, str]] = [(theme, size) for theme in LANGUAGES for size in SIZES]
SETTLED_MS = 600


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with start_demo(tmp_path_factory.mktemp("empty")) as demo:
        yield demo


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    directory = tmp_path_factory.mktemp("full")
    with (
        receiving() as crm,
        receiving() as erp,
        receiving() as bi,
        start_demo(directory, crm=crm, erp=erp, bi=bi) as demo,
    ):
        erp.answer = lambda _: Answer(500, b'{"error": "O disco do ERP est\xc3\xa1 cheio; tente de novo mais tarde."}')
        demo.call("POST", "/admin/endpoints/bi/pause")
        fill(demo)
        demo.up.wait_until(
            lambda: demo.endpoints()["erp"]["state"] == "failing" and demo.endpoints()["crm"]["last_success"]
        )
        yield demo


@pytest.fixture(params=LOOKS, ids="-".join)
def look(request: pytest.FixtureRequest) -> tuple[Theme, str]:
    chosen: tuple[Theme, str] = request.param
    return chosen


def visit(browser: Browser, demo: Demo, look: tuple[Theme, str]) -> Visitor:
    theme, size = look
    return Visitor(browser, demo.url, size=SIZES[size], theme=theme, language=LANGUAGES[theme])


def inspect(visitor: Visitor, name: str, look: tuple[Theme, str]) -> list[str]:
    """Return what is wrong with what is shown now, and draw it where that is asked for."""
    visitor.page.wait_for_timeout(SETTLED_MS)
    if PICTURES:
        visitor.page.screenshot(path=Path(PICTURES) / f"{name}-{'-'.join(look)}.png")
    found = visitor.axe()
    if too_wide := visitor.overflow():
        found.append(f"{too_wide} pixels too wide")
    return [f"{name}: {each}" for each in found]


def test_pages_that_have_something(browser: Browser, full: Demo, look: tuple[Theme, str]) -> None:
    visitor = visit(browser, full, look)
    page, wrong = visitor.go(), []
    page.wait_for_selector(part("signin-token"))
    wrong += inspect(visitor, "sign-in", look)
    visitor.sign_in(full.tokens["maria"])
    for name in ("conversations", "rejected", "sources", "endpoints", "live", "try", "audit"):
        visitor.go(f"#/{name}")
        page.wait_for_selector("h1")
        wrong += inspect(visitor, name, look)
    visitor.go("#/rejected")
    page.click(f"{part('rejected-row')} >> nth=1")
    page.wait_for_selector(part("rejected-body"))
    wrong += inspect(visitor, "rejected-detail", look)
    visitor.go("#/rejected")
    page.click(part("dry-run"))
    page.wait_for_selector(part("dry-run-count"))
    wrong += inspect(visitor, "dry-run", look)
    visitor.go("#/sources")
    page.click(f"{part('source-card', name='imoveis')} {part('signature-helper')} summary")
    page.fill(f"{part('source-card', name='imoveis')} {part('verify-headers')}", "webhook-id: msg_1")
    page.click(f"{part('source-card', name='imoveis')} {part('verify-submit')}")
    page.wait_for_selector(part("verify-verdict"))
    wrong += inspect(visitor, "verify", look)
    assert not wrong, "\n".join(wrong)
    assert not visitor.errors
    assert visitor.hosts == {full.url.removeprefix("http://")}
    visitor.close()


def test_endpoints(browser: Browser, full: Demo, look: tuple[Theme, str]) -> None:
    visitor = visit(browser, full, look)
    visitor.sign_in(full.tokens["plantao"])
    page, wrong = visitor.go("#/endpoints"), []
    page.wait_for_selector(part("delivery-row", outcome="failed"))
    erp = part("endpoint-card", name="erp")
    page.click(f"{erp} {part('endpoint-test')}")
    page.wait_for_selector(f"{erp} {part('endpoint-tried', delivered='false')}")
    wrong += inspect(visitor, "endpoint-test", look)
    visitor.go("#/endpoints/crm")
    page.locator(part("send-again")).first.click()
    page.wait_for_selector(part("resent"))
    page.locator(part("deliveries")).scroll_into_view_if_needed()
    wrong += inspect(visitor, "deliveries", look)
    visitor.go("#/endpoints/bi?show=pending")
    page.wait_for_selector(part("endpoint-card", name="bi", state="paused"))
    page.wait_for_selector(f"{part('deliveries', name='bi')} {part('empty')}")
    page.locator(part("deliveries")).scroll_into_view_if_needed()
    wrong += inspect(visitor, "deliveries-empty", look)
    assert not wrong, "\n".join(wrong)
    assert not visitor.errors
    visitor.close()


def test_a_conversation(browser: Browser, full: Demo, look: tuple[Theme, str]) -> None:
    visitor = visit(browser, full, look)
    visitor.sign_in(full.tokens["maria"])
    key = chat(full)
    page, wrong = visitor.go(f"#/conversations/imoveis/{key}"), []
    page.wait_for_selector(f"{part('thread')} {part('pending-ring')}")
    wrong += inspect(visitor, "pending", look)
    page.wait_for_selector(part("message", type="OUTBOUND"))
    wrong += inspect(visitor, "thread", look)
    page.click(part("erase"))
    wrong += inspect(visitor, "erase", look)
    visitor.go("#/conversations/~/00000000-0000-4000-8000-000000000000")
    wrong += inspect(visitor, "not-found", look)
    visitor.go("#/live")
    page.wait_for_selector(part("connection-state", state="live"))
    chat(full)
    page.wait_for_selector(f"{part('live-line')} >> nth=3")
    wrong += inspect(visitor, "live-lines", look)
    visitor.go("#/try?source=loja")
    page.click(part("try-open"))
    page.wait_for_selector(part("try-answer", status="201"))
    wrong += inspect(visitor, "try-answers", look)
    assert not wrong, "\n".join(wrong)
    visitor.close()


def test_pages_that_have_nothing_yet(browser: Browser, empty: Demo, look: tuple[Theme, str]) -> None:
    visitor, wrong = visit(browser, empty, look), []
    visitor.sign_in(empty.tokens["maria"])
    for name in ("conversations", "rejected", "sources", "endpoints", "live", "try"):
        visitor.go(f"#/{name}").wait_for_selector("h1")
        wrong += inspect(visitor, f"empty-{name}", look)
    assert not wrong, "\n".join(wrong)
    visitor.close()
