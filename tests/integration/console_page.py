"""A real browser before the console's page: Chromium from Debian, driven by Playwright."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from needed import CI, require_program
from realmate.console.pages import BUILT

AXE = Path(__file__).parents[2] / "console" / "node_modules" / "axe-core" / "axe.min.js"
AXE_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
Theme = Literal["light", "dark"]
PATIENCE_MS = 20_000


def require_page() -> None:
    """Skip the test where the page is not built; in CI it fails instead."""
    if (BUILT / "index.html").exists() and AXE.exists():
        return
    hint = "needs the console's page: make console"
    if CI:
        pytest.fail(hint)
    pytest.skip(hint)


@contextmanager
def chromium() -> Iterator[Browser]:
    require_page()
    program = require_program("chromium", package="chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])


class Visitor:
    """One browser's window on a console, and what went wrong in it."""

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        size: tuple[int, int] = (1440, 900),
        theme: Theme = "light",
        language: str = "en-US",
        **others: Any,
    ) -> None:
        self.url = url
        self.context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=theme, locale=language, **others
        )
        self.context.set_default_timeout(PATIENCE_MS)
        self.hosts: set[str] = set()
        self.errors: list[str] = []
        self.context.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))
        self.page = self.open()

    def open(self) -> Page:
        """Open another tab."""
        page = self.context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if is_policy_error(said.text) else None)
        return page

    def go(self, path: str = "") -> Page:
        """Go to a place in the page, such as `#/live`, from nowhere."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/console/{path}")
        return self.page

    def sign_in(self, token: str) -> None:
        self.go()
        self.page.fill("[data-test=signin-token]", token)
        self.page.click("[data-test=signin-submit]")
        self.page.wait_for_selector("h1:not(form h1)")

    def axe(self) -> list[str]:
        """Return what axe says is wrong with the page as it is now."""
        self.page.evaluate(AXE.read_text())
        found: list[dict[str, Any]] = self.page.evaluate(
            "async rules => (await axe.run(document, {runOnly: rules})).violations", AXE_RULES
        )
        return [
            f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}" for rule in found for node in rule["nodes"]
        ]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        too_wide: int = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        return max(0, too_wide)

    def close(self) -> None:
        self.context.close()


def is_policy_error(text: str) -> bool:
    """Whether the browser blocked something by the page's own policy."""
    return "Content Security Policy" in text or "Refused to" in text


def part(name: str, /, **data: str) -> str:
    """Return the selector of what has this name in the page, such as `conversation-row`, and these data."""
    return f"[data-test={name}]" + "".join(f'[data-{key}="{value}"]' for key, value in data.items())
