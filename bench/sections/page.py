"""The console in Chromium: how heavy, how soon, how late a change is shown, and what 200 changes a second cost."""

from __future__ import annotations

import gzip
import json
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import requests
from playwright.sync_api import Browser, Page, Response, sync_playwright

import fixed_rate
from bench import Options, started
from findings import Findings
from installation import BenchError
from measurement import Spread
from outcome import percentiles
from realmate.console.pages import BUILT

CHROMIUM = "/usr/bin/chromium"
EVENTS_PER_S = 180
"""With the replies these are 200 changes a second."""
CONNECTIONS = 16
SINGLE_EVENTS = 30
LONG_TASK_MS = 50.0
ROW = "[data-test=conversation-row]"
TIMEOUT_S = 30
SETTLED_S = 7
TASKS = {"RunTask", "ThreadControllerImpl::RunTask"}


def find(options: Options) -> Findings:
    if not (BUILT / "index.html").exists():
        raise BenchError("the page is not built: make console")
    with started(options) as bench, chromium() as browser:
        findings = Findings(bench.postgres)
        _open_conversation(bench.url)
        figures: dict[str, list[float]] = {}
        for run in range(1, options.runs + 1):
            print(f"  run {run}/{options.runs} ...", flush=True)
            for name, value in _look(browser, bench.url, options.seconds).items():
                print(f"    {name:44} {value:10,.1f}", flush=True)
                figures.setdefault(name, []).append(value)
        findings.figures = {name: Spread.of(values) for name, values in figures.items()}
    return findings


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


def _look(browser: Browser, url: str, seconds: int) -> dict[str, float]:
    """One visit with an empty cache."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    loaded: list[Response] = []

    def keep(response: Response) -> None:
        loaded.append(response)

    page.on("response", keep)
    page.goto(f"{url}/console/")
    page.wait_for_selector(ROW)
    interactive_ms: float = page.evaluate("performance.now()")
    found = {
        "page, KiB (gzip)": sum(_gzipped(response) for response in loaded) / 1024,
        "from the navigation to the list, ms": interactive_ms,
    }
    page.wait_for_selector("[data-test=connection-state][data-state=live]")
    late_ms = [_shown_after_ms(page, url) for _ in range(SINGLE_EVENTS)]
    found |= {f"event to row, {name}, ms": value for name, value in percentiles(late_ms).items() if name != "p90"}
    for place in ("conversations", "live"):
        page.goto(f"{url}/console/#/{place}")
        page.wait_for_selector("h1")
        tasks = _busy(browser, page, url, seconds)
        found[f"{place}: longest task at 200 changes/s, ms"] = max(tasks)
        found[f"{place}: tasks over 50 ms in {seconds} s"] = sum(task > LONG_TASK_MS for task in tasks)
    context.close()
    return found


def _gzipped(response: Response) -> int:
    """Return what a file of the page is on the wire, behind an ingress that compresses."""
    if not urlsplit(response.url).path.startswith("/console/") or response.url.endswith("/session"):
        return 0
    return len(gzip.compress(response.body(), 6))


def _post(url: str, kind: str, **data: str) -> None:
    body = json.dumps({"type": kind, "timestamp": "2025-06-04T14:20:05Z", "data": data})
    requests.post(f"{url}/webhook/", data=body, timeout=TIMEOUT_S).raise_for_status()


def _open_conversation(url: str) -> str:
    key = str(uuid.uuid4())
    _post(url, "NEW_CONVERSATION", id=key)
    return key


def _shown_after_ms(page: Page, url: str) -> float:
    """Return how long after its answer an event is on the screen. The answer comes after the commit."""
    key = _open_conversation(url)
    began = time.monotonic()
    page.wait_for_selector(f'{ROW}[data-id="{key}"]')
    return 1e3 * (time.monotonic() - began)


def _busy(browser: Browser, page: Page, url: str, seconds: int) -> list[float]:
    """Return how long each task of the page's main thread took, in ms, while changes come; by Chromium's own trace."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        browser.start_tracing(page=page, path=file.name, categories=["toplevel", "devtools.timeline"])
        sender = threading.Thread(
            target=fixed_rate.post_events,
            args=(url,),
            kwargs={"connections": CONNECTIONS, "rate": EVENTS_PER_S, "seconds": seconds},
        )
        sender.start()
        page.wait_for_timeout(1e3 * (seconds + SETTLED_S))  # until the last replies are shown
        sender.join()
        browser.stop_tracing()
        return _tasks_ms(Path(file.name))


def _tasks_ms(trace: Path) -> list[float]:
    events = json.loads(trace.read_bytes())["traceEvents"]
    main_threads = {
        (event["pid"], event["tid"])
        for event in events
        if event.get("name") == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    return [
        event["dur"] / 1e3
        for event in events
        if event.get("name") in TASKS and "dur" in event and (event["pid"], event["tid"]) in main_threads
    ]
