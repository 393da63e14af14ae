"""The metrics of the operator."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

RECONCILES = Counter("realmate_operator_reconciles", "Reconciles of a namespace, by outcome: well, failed", ["outcome"])
RECONCILE_SECONDS = Histogram("realmate_operator_reconcile_seconds", "The time of one reconcile of a namespace")
LAST_RECONCILE = Gauge("realmate_operator_last_reconcile_timestamp_seconds", "When the last reconcile ended well")
SOURCES = Gauge(
    "realmate_operator_sources",
    "WebhookSources by whether they are published as they are written, and why not",
    ["namespace", "reason"],
)
ENDPOINTS = Gauge(
    "realmate_operator_endpoints",
    "WebhookEndpoints by whether they are published as they are written, and why not",
    ["namespace", "reason"],
)
