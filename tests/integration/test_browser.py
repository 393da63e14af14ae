"""A browser follows the changes, with the lines of docs/reading.md, and goes on by itself when query is killed."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from playwright.sync_api import sync_playwright

from installation import Installation, event, start_installation
from needed import require_program

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "reading.md"


def opened(installation: Installation) -> str:
    key = str(uuid4())
    assert installation.insist(event("NEW_CONVERSATION", id=key))[0] == 201
    return key


def until(claim: Callable[[], bool], wait: Callable[[], object]) -> bool:
    give_up_at = time.monotonic() + 30
    while not claim():
        if time.monotonic() > give_up_at:
            return False
        wait()
    return True


def test_a_browser_goes_on_by_itself_when_query_is_killed(tmp_path: Path) -> None:
    chromium = require_program("chromium", package="chromium")
    [program] = re.findall(r"```js\n(.+?)```", DOCUMENTATION.read_text(), re.DOTALL)
    program = program.replace("?source=shop", "?after=oldest").replace(
        "console.log(JSON.parse(data))", "console.log(data)"
    )
    with start_installation(tmp_path) as installation, sync_playwright() as playwright:
        while installation.ask("GET", "/changes/")[0] != 200:  # the feed begins within a second
            time.sleep(0.1)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        lines: list[str] = []
        page.on("console", lambda message: lines.append(message.text))
        page.goto(f"{installation.intake.url}/healthz")
        keys = [opened(installation) for _ in range(3)]
        page.evaluate(f"() => {{ {program} window.changes = changes; }}")

        def all_are_told_once() -> bool:
            return re.findall(r'"conversation_id":"(.+?)"', "\n".join(lines)) == keys

        def wait() -> None:
            page.wait_for_timeout(50)

        assert until(all_are_told_once, wait), lines
        assert until(lambda: "from here on it is live" in lines, wait), lines
        for _ in range(2):
            installation.intake.kill()
            page.wait_for_timeout(300)
            installation.intake.start()
            installation.intake.wait_ready()
            keys += [opened(installation) for _ in range(3)]
            assert until(all_are_told_once, wait), lines
        browser.close()
