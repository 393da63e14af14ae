"""What the intake counts."""

from __future__ import annotations

from prometheus_client import Counter

REFUSED_SIGNATURES = Counter(
    "realmate_webhook_refused_signatures",
    "Requests that were not proven to be from their source, by source and why",
    ["source", "reason"],
)

LIMITED = Counter("realmate_webhook_limited", "Events beyond their source's limit, by source", ["source"])

UNKEPT = Counter("realmate_webhook_unkept_refusals", "Refused events that were not kept, by source", ["source"])
