"""The metrics of the deliveries service. Dashboards and alerts use their names and labels: they are an interface."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ATTEMPTS = Counter(
    "realmate_delivery_attempts", "Attempts to deliver: delivered, failed, given_up", ["endpoint", "outcome"]
)
ATTEMPT_SECONDS = Histogram("realmate_delivery_attempt_seconds", "Of one request to an endpoint", ["endpoint"])
DELAY_SECONDS = Histogram(
    "realmate_delivery_delay_seconds",
    "From an event to its delivery",
    ["endpoint"],
    buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 10, 60, 300, 3600, 86_400),
)
CIRCUIT_OPEN = Gauge(
    "realmate_endpoint_circuit_open",
    "1 while the circuit breaker of an endpoint is open",
    ["endpoint"],
    multiprocess_mode="livemax",
)
PAUSED = Gauge("realmate_endpoint_paused", "1 while an endpoint is paused", ["endpoint"], multiprocess_mode="livemax")
FAILING_SECONDS = Gauge(
    "realmate_endpoint_failing_seconds",
    "For how long nothing but failures came from an endpoint; 0 after a success",
    ["endpoint"],
    multiprocess_mode="livemax",
)
BEHIND = Gauge(
    "realmate_endpoint_behind_changes",
    "Changes in the feed that are no deliveries yet",
    ["endpoint"],
    multiprocess_mode="livemax",
)
WAITING = Gauge(
    "realmate_endpoint_waiting_conversations",
    "Conversations with deliveries that wait; 10,000 are counted at most",
    ["endpoint"],
    multiprocess_mode="livemax",
)
OVERDUE_SECONDS = Gauge(
    "realmate_endpoint_overdue_seconds",
    "For how long the oldest delivery that is due has not been sent; one that waits for its next attempt is not due",
    ["endpoint"],
    multiprocess_mode="livemax",
)
_OF_ENDPOINT = (CIRCUIT_OPEN, PAUSED, FAILING_SECONDS, BEHIND, WAITING, OVERDUE_SECONDS)


def forget(endpoint: str) -> None:
    """Tell nothing more about an endpoint that is in the file no more."""
    for gauge in _OF_ENDPOINT:
        gauge.labels(endpoint).set(0)
