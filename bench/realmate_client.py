"""The benchmark as a client of Realmate: what it counted, and a conversation to send to."""

from __future__ import annotations

import time
from collections import Counter
from datetime import UTC, datetime

import requests
from prometheus_client.parser import text_string_to_metric_families

from outcome import Load, percentiles

TIMEOUT_S = 10
PAGE_TIMEOUT_S = 60


def verdicts(url: str) -> Counter[str]:
    """Events decided so far, by verdict."""
    text = requests.get(f"{url}/metrics", timeout=TIMEOUT_S).text
    return Counter(
        {
            sample.labels["verdict"]: int(sample.value)
            for family in text_string_to_metric_families(text)
            if family.name == "realmate_events"
            for sample in family.samples
        }
    )


def open_conversation(url: str, conversation: str) -> None:
    event = {"type": "NEW_CONVERSATION", "timestamp": datetime.now(UTC).isoformat(), "data": {"id": conversation}}
    requests.post(f"{url}/webhook/", json=event, timeout=TIMEOUT_S).raise_for_status()


def get_again(session: requests.Session, url: str, seconds: int) -> Load:
    """GET the same page again and again."""
    took_ms: list[float] = []
    until = time.monotonic() + seconds
    while (began := time.monotonic()) < until:
        session.get(url, timeout=PAGE_TIMEOUT_S).raise_for_status()
        took_ms.append(1e3 * (time.monotonic() - began))
    return Load(len(took_ms), len(took_ms) / seconds, percentiles(took_ms))
