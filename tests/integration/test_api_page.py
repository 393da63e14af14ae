"""The page `/docs/` in a browser: Swagger UI shows the API's document, and tries its calls, under the strict policy."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from described import DOCUMENT
from installation import start_installation
from needed import require_program
from realmate.console import pages

pytestmark = pytest.mark.skipif(not pages.BUILT.exists(), reason="the page is not built: make console")
TELL_VIOLATIONS = """
    document.addEventListener('securitypolicyviolation', (each) => console.error(each.blockedURI))
"""


def try_out(page: Page, operation: str) -> str:
    """Send a call as it stands on the page, and return the status of the answer."""
    block = page.locator(f"#operations-operations-{operation}")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    block.get_by_role("button", name="Execute").click()
    status = block.locator(".live-responses-table .response .response-col_status")
    expect(status).to_be_visible()
    return status.inner_text().split()[0]


def test_the_page_shows_and_tries_every_call_without_an_error(tmp_path: Path) -> None:
    chromium = require_program("chromium", package="chromium")
    with start_installation(tmp_path, console=True) as installation, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        errors: list[str] = []
        hosts: set[str] = set()
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        page.add_init_script(TELL_VIOLATIONS)
        page.goto(f"{installation.intake.url}/docs/")
        calls = sum(len(methods) for methods in DOCUMENT["paths"].values())
        expect(page.locator(".opblock")).to_have_count(calls)
        assert try_out(page, "show_overview") == "200"
        assert try_out(page, "replay") == "200", "the example only counts, and the page sends the header that it needs"
        assert errors == []
        assert hosts == {installation.intake.url.split("/")[2]}
        browser.close()
