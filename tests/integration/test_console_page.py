"""What people do with the console's page, in a real browser before a real `realmate up`."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from console_demo import Demo, start_demo
from console_page import Visitor, chromium, part
from local_up import up
from receivers import Answer, receiving

expect.set_options(timeout=20_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    with start_demo(tmp_path_factory.mktemp("demo")) as running:
        yield running


@pytest.fixture
def visitor(browser: Browser, demo: Demo) -> Iterator[Visitor]:
    """One who is signed in as maria, who may do everything."""
    signed_in = Visitor(browser, demo.url)
    signed_in.sign_in(demo.tokens["maria"])
    yield signed_in
    assert not signed_in.errors
    signed_in.close()


def row(key: str) -> str:
    return part("conversation-row", id=key)


def is_live(page: Page) -> None:
    expect(page.locator(part("connection-state"))).to_have_attribute("data-state", "live")


def shown_ids(page: Page) -> list[str]:
    ids: list[str] = page.eval_on_selector_all(part("message"), "all => all.map(one => one.dataset.id)")
    return ids


def test_a_newcomer_sees_what_realmate_send_sends_arrive_live(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Without a file of tokens there is nothing to sign in to, and the page says so."""
    with up(tmp_path_factory.mktemp("newcomer") / "data") as installation:
        assert f"{installation.url}/console/" in installation.output
        visitor = Visitor(browser, installation.url)
        visitor.page.goto(installation.url)
        page = visitor.page
        page.wait_for_selector(part("empty"))
        assert page.url.startswith(f"{installation.url}/console/")
        expect(page.locator(".banner-open")).to_be_visible()
        is_live(page)
        send = [
            sys.executable,
            "-m",
            "realmate",
            "send",
            "--url",
            installation.url,
            "--say",
            "Olá",
            "--say",
            "Tudo bem?",
        ]
        with subprocess.Popen(send, stdout=subprocess.PIPE) as sender:
            page.click(part("conversation-row"))
            expect(page.locator(part("message", type="INBOUND"))).to_have_count(2)
            expect(page.locator(f"{part('thread')} {part('pending-ring')}")).to_have_count(1)
            expect(page.locator(part("message", type="OUTBOUND"))).to_have_count(1)
            expect(page.locator(part("pending-ring"))).to_have_count(0)
            expect(page.locator(part("burst"))).to_have_count(1)
            expect(page.locator(f"{part('burst')} {part('message')}")).to_have_count(3)
            assert sender.wait(60) == 0
        visitor.close()


@pytest.mark.parametrize(
    ("language", "nav", "done"), [("en-US", "Rejected", "Done"), ("pt-BR", "Rejeitados", "Concluído")]
)
def test_an_event_that_was_rejected_is_found_by_its_id_and_sent_again(
    browser: Browser, demo: Demo, language: str, nav: str, done: str
) -> None:
    key = str(uuid.uuid4())
    message = demo.say(key, "Cheguei antes da conversa")
    demo.up.wait_until(lambda: demo.call("GET", f"/admin/rejections/?conversation={key}").json()["items"])
    demo.post("loja", "NEW_CONVERSATION", id=key)
    visitor = Visitor(browser, demo.url, language=language)
    visitor.sign_in(demo.tokens["plantao"])
    page = visitor.page
    page.click(f"text={nav}")
    page.fill(part("rejected-conversation"), "{" + key.upper() + "}")
    page.press(part("rejected-conversation"), "Enter")
    expect(page.locator(part("rejected-row"))).to_have_count(1)
    assert f"conversation={key}" in page.url
    page.click(part("dry-run"))
    expect(page.locator(part("dry-run-count"))).to_have_text("1")
    page.click(part("replay-start"))
    expect(page.locator(part("replay-progress"))).to_have_attribute("data-state", "done")
    expect(page.locator(part("replay-progress"))).to_contain_text(done)
    expect(page.locator(part("replay-progress"))).to_contain_text("202")
    page.reload()  # the address has the filters and the job
    expect(page.locator(part("replay-progress"))).to_contain_text("202")
    page.click(f"{part('rejected-row')} a")
    expect(page.locator(part("rejected-detail"))).to_contain_text(message)
    assert not visitor.errors
    visitor.close()
    shown = {audit["action"] for audit in demo.call("GET", "/admin/audit/?who=plantao").json()["items"]}
    assert {"session.begin", "replay.start", "rejection.read"} <= shown


def test_the_reason_stands_at_the_field_that_caused_it(visitor: Visitor, demo: Demo) -> None:
    demo.send("loja", '{"type": "NEW_MESSAGE", "timestamp": "never", "data": {"id": 7, "content": "<b>x</b>"}}')
    page = visitor.go("#/rejected?code=invalid_event")
    page.click(f"{part('rejected-row')} >> nth=0")
    fields = page.locator(part("field-error"))
    expect(fields).to_have_count(3)
    lines = page.eval_on_selector_all(
        part("field-error"), "all => all.map(one => one.previousElementSibling.textContent)"
    )
    assert any('"timestamp": "never"' in line for line in lines)
    assert "<b>x</b>" in page.inner_text(part("rejected-body"))


def test_what_people_write_is_text_and_never_markup(visitor: Visitor, demo: Demo) -> None:
    texts = ["<img src=x onerror=alert(1)>", "{{ 7 * 7 }}", "javascript:alert(1)", "</script><script>alert(1)</script>"]
    visitor.page.on("dialog", lambda _dialog: visitor.errors.append("a script of a message ran"))
    key = demo.opened()
    for content in texts:
        demo.say(key, content)
    page = visitor.go(f"#/conversations/loja/{key}")
    expect(page.locator(part("message", type="INBOUND"))).to_have_count(len(texts))
    shown = page.inner_text(part("thread"))
    assert all(content in shown for content in texts)
    assert page.locator(f"{part('thread')} img").count() == 0
    visitor.go("#/live")
    demo.say(key, texts[0])
    expect(page.locator(part("live-line"))).not_to_have_count(0)


def test_a_message_of_60_000_characters_is_shown_and_folded(visitor: Visitor, demo: Demo) -> None:
    key = demo.opened()
    demo.say(key, "palavra " * 7_500)
    page = visitor.go(f"#/conversations/loja/{key}")
    expect(page.locator(part("message"))).to_have_count(1)
    assert page.locator(part("message")).bounding_box()["height"] < 2_000  # type: ignore[index]
    page.click(f"{part('message')} button:has-text('60')")
    assert len(page.inner_text(part("message"))) > 59_000
    assert visitor.overflow() == 0


def test_the_keyboard_alone_reads_conversations(visitor: Visitor, demo: Demo) -> None:
    older, newer = demo.opened("suporte"), demo.opened("suporte")  # whose conversations no reply moves
    page = visitor.go("#/conversations?source=suporte")
    expect(page.locator(row(newer))).to_be_visible()
    page.keyboard.press("j")
    expect(page.locator(row(newer))).to_have_attribute("aria-current", "true")
    page.keyboard.press("j")
    expect(page.locator(row(older))).to_have_attribute("aria-current", "true")
    page.keyboard.press("k")
    expect(page.locator(row(newer))).to_have_attribute("aria-current", "true")
    page.keyboard.press("/")
    page.keyboard.type(older.replace("-", "").upper())
    expect(page).to_have_url(re.compile(older))
    page.locator("body").press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_a_skip_link_leads_past_the_navigation(visitor: Visitor) -> None:
    page = visitor.go("#/live")
    page.wait_for_selector("h1")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"


def test_one_stream_serves_all_tabs_and_another_takes_over(visitor: Visitor, demo: Demo) -> None:
    streams: list[str] = []
    visitor.context.on("request", lambda request: streams.append(request.url) if "/changes/" in request.url else None)
    first = visitor.go("#/conversations")
    is_live(first)
    second = visitor.open()
    second.goto(f"{demo.url}/console/#/conversations")
    is_live(second)
    key = demo.opened()
    for page in (first, second):
        expect(page.locator(row(key))).to_be_visible()
    assert len(streams) == 1
    first.goto("about:blank")
    other = demo.opened()
    expect(second.locator(row(other))).to_be_visible()
    assert len(streams) == 2
    second.close()


def test_theme_and_language_are_switched_and_remembered(visitor: Visitor) -> None:
    page = visitor.go("#/live")
    for name, expected in (("theme-switch", "dark"), ("theme-switch", "light")):
        page.click(part(name))
        page.reload()
        page.wait_for_selector("h1")
        assert page.evaluate("document.documentElement.dataset.theme") == expected
    page.click(part("language-switch"))
    expect(page.locator("h1")).to_have_text("Ao vivo")
    page.reload()
    expect(page.locator("h1")).to_have_text("Ao vivo")
    assert page.evaluate("document.documentElement.lang") == "pt-BR"


def test_a_conversation_is_erased_after_a_question(visitor: Visitor, demo: Demo) -> None:
    key = demo.opened()
    demo.say(key, "Esqueçam isto")
    page = visitor.go(f"#/conversations/loja/{key}")
    page.click(part("erase"))
    page.keyboard.press("Escape")
    assert requests.get(f"{demo.url}/conversations/{key}/", headers=bearer(demo), timeout=30).ok
    page.click(part("erase"))
    page.click(part("erase-confirm"))
    page.wait_for_selector(f"{part('empty')} h2")
    expect(page.locator(row(key))).to_have_count(0)
    assert requests.get(f"{demo.url}/conversations/{key}/", headers=bearer(demo), timeout=30).status_code == 404


def bearer(demo: Demo) -> dict[str, str]:
    return {"Authorization": f"Bearer {demo.tokens['maria']}"}


def test_events_are_tried_in_the_page(visitor: Visitor) -> None:
    page = visitor.go("#/try?source=loja")
    page.click(part("try-open"))
    page.wait_for_selector(part("try-answer", status="201"))
    page.click(part("try-burst"))
    expect(page.locator(part("try-answer", status="202"))).to_have_count(3)
    page.click(part("try-link"))
    expect(page.locator(part("message"))).to_have_count(3)
    texts = page.locator(f"{part('message')} >> nth=0").inner_text()
    assert "Hello!" in texts


def test_a_source_s_signature_is_checked(visitor: Visitor) -> None:
    page = visitor.go("#/sources")
    card = part("source-card", name="imoveis")
    page.click(f"{card} {part('signature-helper')} summary")
    page.fill(f"{card} {part('verify-headers')}", "webhook-id: msg_1\nwebhook-timestamp: 1\nwebhook-signature: v1,x")
    page.fill(f"{card} {part('verify-body')}", "{}")
    page.click(f"{card} {part('verify-submit')}")
    expect(page.locator(f"{card} {part('verify-verdict')}")).to_have_attribute("data-accepted", "false")


def test_who_may_less_sees_less(browser: Browser, demo: Demo) -> None:
    visitor = Visitor(browser, demo.url)
    visitor.sign_in(demo.tokens["loja"])
    page = visitor.page
    expect(page.locator(part("nav-conversations"))).to_be_visible()
    for name in ("rejected", "sources", "audit"):
        expect(page.locator(part(f"nav-{name}"))).to_have_count(0)
    visitor.go("#/audit")
    expect(page).to_have_url(re.compile("#/conversations"))
    other = demo.opened("suporte")
    ours = demo.opened("loja")
    expect(page.locator(row(ours))).to_be_visible()
    expect(page.locator(row(other))).to_have_count(0)
    visitor.close()


def test_signing_out_and_a_wrong_token_are_told(browser: Browser, demo: Demo) -> None:
    visitor = Visitor(browser, demo.url)
    page = visitor.go("#/live")
    page.fill(part("signin-token"), "rmt_wrong")
    page.click(part("signin-submit"))
    expect(page.get_by_role("alert")).to_be_visible()
    page.fill(part("signin-token"), demo.tokens["loja"])
    page.click(part("signin-submit"))
    expect(page).to_have_url(re.compile("#/live"))  # where one wanted to go
    page.click(part("sign-out"))
    page.wait_for_selector(part("signin-token"))
    assert not visitor.context.cookies()
    visitor.close()


def test_a_token_that_is_taken_away_ends_the_session(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("revoked")
    with start_demo(directory) as demo:
        visitor = Visitor(browser, demo.url)
        visitor.sign_in(demo.tokens["loja"])
        is_live(visitor.page)
        file = directory / "tokens.toml"
        kept = [entry for entry in file.read_text().split("\n\n") if '"loja"]' not in entry]
        file.with_suffix(".new").write_text("\n\n".join(kept))
        file.with_suffix(".new").replace(file)
        visitor.page.wait_for_selector(part("signin-token"))
        visitor.close()


@pytest.mark.parametrize(("language", "nav"), [("en-US", "Endpoints"), ("pt-BR", "Destinos")])
def test_an_endpoint_is_tried_paused_and_resumed_and_sent_an_event_again(
    browser: Browser, tmp_path_factory: pytest.TempPathFactory, language: str, nav: str
) -> None:
    with receiving() as crm, start_demo(tmp_path_factory.mktemp("endpoints"), crm=crm) as demo:
        visitor = Visitor(browser, demo.url, language=language)
        visitor.sign_in(demo.tokens["plantao"])
        page = visitor.page
        page.click(f"nav >> text={nav}")
        card = page.locator(part("endpoint-card", name="crm"))
        card.locator(part("endpoint-test")).click()
        expect(card.locator(part("endpoint-tried", delivered="true"))).to_contain_text("204")
        assert [each.event["type"] for each in crm.requests] == ["conversation.opened"]

        crm.answer = lambda _: Answer(500, b"<b>the disk is full</b>")
        key = demo.opened()
        expect(card).to_have_attribute("data-state", "failing")
        row_ = page.locator(part("delivery-row", conversation=key))
        expect(row_.first).to_contain_text("<b>the disk is full</b>")

        card.locator(part("endpoint-pause")).click()
        expect(card).to_have_attribute("data-state", "paused")
        crm.answer = lambda _: Answer()
        crm.requests.clear()
        page.select_option(part("deliveries-show"), "pending")
        expect(page.locator(part("delivery-row"))).to_have_count(1)
        assert page.url.endswith("#/endpoints/crm?show=pending")
        assert crm.requests == []
        card.locator(part("endpoint-resume")).click()
        expect(card).to_have_attribute("data-state", "delivering")
        expect(page.locator(part("delivery-row"))).to_have_count(0)
        assert crm.told(key) == ["conversation.opened"]

        page.select_option(part("deliveries-show"), "attempts")
        row_.locator(part("send-again")).first.click()
        expect(page.locator(part("resent"))).to_be_visible()
        demo.up.wait_until(lambda: crm.told(key) == ["conversation.opened"] * 2)
        actions = [each["action"] for each in demo.call("GET", "/admin/audit/").json()["items"]]
        deeds = ["delivery.retry", "endpoint.resume", "endpoint.pause", "endpoint.test"]
        assert [each for each in actions if each in deeds] == deeds
        assert not visitor.errors
        visitor.close()


@pytest.mark.parametrize("hours", [-30, 30])
def test_a_browser_whose_clock_is_wrong_shows_the_same_seconds(browser: Browser, demo: Demo, hours: int) -> None:
    visitor = Visitor(browser, demo.url)
    visitor.context.add_init_script(f"{{ const now = Date.now; Date.now = () => now() + {hours} * 3600e3; }}")
    visitor.sign_in(demo.tokens["maria"])
    key = demo.opened()
    page = visitor.go(f"#/conversations/loja/{key}")
    is_live(page)
    demo.say(key, "Que horas são?")
    ring = page.locator(f"{part('thread')} {part('pending-ring')}")
    expect(ring).to_contain_text(re.compile(r"[3-5] s"))
    expect(page.locator(part("message", type="OUTBOUND"))).to_have_count(1)
    visitor.close()


def test_another_site_can_neither_frame_the_page_nor_use_its_cookie(browser: Browser, demo: Demo) -> None:
    """The other site is this machine by another name, which is another site to a browser."""
    visitor = Visitor(browser, demo.url)
    visitor.sign_in(demo.tokens["maria"])
    page = visitor.open()
    page.goto(f"{demo.url.replace('127.0.0.1', 'localhost')}/healthz")
    page.evaluate("url => { document.body.innerHTML = `<iframe src='${url}/console/'></iframe>` }", demo.url)
    page.wait_for_timeout(1_000)
    assert page.frames[1].url == "chrome-error://chromewebdata/"
    assert any("frame-ancestors 'none'" in error for error in visitor.errors)
    before = demo.call("GET", "/admin/replays/").json()["items"]
    forged = (
        """url => fetch(url, {method: 'POST', mode: 'no-cors', credentials: 'include', body: '{"dry_run": false}'})"""
    )
    page.evaluate(f"url => ({forged})(url).then(() => null, () => null)", f"{demo.url}/admin/replays/")
    assert demo.call("GET", "/admin/replays/").json()["items"] == before
    visitor.close()


def test_times_are_in_the_viewer_s_zone_with_the_exact_one_beside(browser: Browser, demo: Demo) -> None:
    visitor = Visitor(browser, demo.url, timezone_id="America/Sao_Paulo")
    visitor.sign_in(demo.tokens["maria"])
    key = demo.opened()
    said = {"id": str(uuid.uuid4()), "conversation_id": key, "content": "Oi"}
    demo.send("loja", json.dumps({"type": "NEW_MESSAGE", "timestamp": "2025-06-04T01:30:00Z", "data": said}))
    page = visitor.go(f"#/conversations/loja/{key}")
    page.wait_for_selector(part("message"))
    time = page.locator(f"{part('message')} time")
    expect(time).to_contain_text("Jun 3")
    expect(time).to_have_attribute("title", re.compile("10:30:00 PM GMT-3 · 2025-06-04T01:30:00"))
    visitor.close()
