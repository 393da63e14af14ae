"""The metrics of every transport. They count batches, never events."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

CALLS = Counter("realmate_transport_calls", "Batches sent, by outcome: replied or unavailable", ["outcome"])
CALLS_IN_FLIGHT = Gauge(
    "realmate_transport_calls_in_flight", "Batches sent that wait for their verdicts", multiprocess_mode="livesum"
)
CALL_SECONDS = Histogram(
    "realmate_transport_call_seconds",
    "From sending a batch to its verdicts",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
DELIVERIES = Counter(
    "realmate_transport_deliveries", "Batches received, by kind: first, redelivered, or expired (dropped)", ["kind"]
)
MERGED_DELIVERIES = Histogram(
    "realmate_transport_merged_deliveries", "Batches handed to one worker", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
)
WORKERS_IN_FLIGHT = Gauge(
    "realmate_transport_workers_in_flight", "Workers applying batches now", multiprocess_mode="livesum"
)
WORKERS_FAILED = Counter("realmate_transport_workers_failed", "Workers that raised; their batches come again")
REJECTED = Counter(
    "realmate_transport_dropped_messages",
    "Messages from the broker that were dropped unread, by what they were taken for (command, reply) and by reason",
    ["what", "reason"],
)
DEAD_LETTERS = Counter(
    "realmate_transport_dead_letters", "Batches that are dead letters: two consumers ended at work on each"
)
