"""The metrics of the intake."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import Counter

EVENTS = Counter(
    "realmate_webhook_events",
    "Events of known senders by source and outcome: accepted (2xx), rejected (4xx), unavailable (503)",
    ["source", "outcome"],
)

REJECTED_SIGNATURES = Counter(
    "realmate_webhook_rejected_signatures",
    "Requests that were not proven to be from their source, by source and why",
    ["source", "reason"],
)

LIMITED = Counter("realmate_webhook_limited", "Events beyond their source's limit, by source", ["source"])

UNKEPT = Counter("realmate_webhook_unrecorded_rejections", "Rejected events that were not kept, by source", ["source"])

_OUTCOMES = {2: "accepted", 4: "rejected", 5: "unavailable"}


def count_events(answers: Iterable[tuple[str, int]]) -> None:
    """Count each event by its source and the status of its response."""
    for (source, status), count in Tally(answers).items():
        EVENTS.labels(source, _OUTCOMES[status // 100]).inc(count)
