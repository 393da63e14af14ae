"""The metrics of the conversations service. Dashboards and alerts use their names and labels: they are an interface."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Sequence

from prometheus_client import Counter, Gauge, Histogram

from realmate.domain.events import Event, Verdict
from realmate.domain.model import Reply
from realmate.runtime.exposition import observe_all

_EVENT_TYPES = {
    "NewConversation": "NEW_CONVERSATION",
    "NewMessage": "NEW_MESSAGE",
    "CloseConversation": "CLOSE_CONVERSATION",
}

EVENTS = Counter("realmate_events", "Events decided and committed", ["type", "verdict"])
REPLY_CALLS = Counter(
    "realmate_reply_calls", "Calls to sources' responders: answered, failed, refused", ["source", "outcome"]
)
REPLY_CALL_SECONDS = Histogram("realmate_reply_call_seconds", "Of one call to a source's responder", ["source"])
RESPONDER_CIRCUIT_OPEN = Gauge(
    "realmate_responder_circuit_open",
    "1 while the circuit breaker of a source's responder is open",
    ["source"],
    multiprocess_mode="livemax",
)
EXPIRED = Counter("realmate_held_messages_expired", "Held messages whose conversation did not come in time")
REJECTIONS = Counter("realmate_rejections", "Rejected events that are kept, by source and code", ["source", "code"])
REPLIES = Counter("realmate_replies", "Replies committed")
LATENESS = Histogram(
    "realmate_reply_lateness_seconds",
    "From the end of a group's window to the moment its reply was made",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
)
BATCH_EVENTS = Histogram(
    "realmate_transaction_events", "Events in one transaction", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
)
TRANSACTION_SECONDS = Histogram(
    "realmate_transaction_seconds",
    "From the receipt of a batch to its commit, tries included",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
SWEPT_APART = Gauge(
    "realmate_source_swept_apart",
    "1 while a source's share of the sweep failed, so that it is swept apart from the others, in smaller portions",
    ["source"],
    multiprocess_mode="livemax",
)
SET_ASIDE = Counter(
    "realmate_sweep_set_aside",
    "Conversations on which the sweep failed alone: each is tried again later, and counted again if it fails",
    ["source"],
)
PENDING_GROUPS = Gauge("realmate_groups_pending", "Groups not answered yet", multiprocess_mode="mostrecent")
HELD_MESSAGES = Gauge("realmate_held_messages", "Messages waiting for a conversation", multiprocess_mode="mostrecent")
FEED_OPEN = Gauge(
    "realmate_feed_open",
    "1 while every change gets into the feed; 0 while an older version writes",
    multiprocess_mode="mostrecent",
)
UNNUMBERED_SECONDS = Gauge(
    "realmate_feed_unnumbered_seconds",
    "How long the oldest change has waited for its position",
    multiprocess_mode="mostrecent",
)
OVERDUE_SECONDS = Gauge(
    "realmate_sweep_overdue_seconds", "How late the sweep is for what is due longest", multiprocess_mode="mostrecent"
)


def count_events(decided: Iterable[tuple[Event, Verdict]]) -> None:
    tally = Tally((type(event).__name__, verdict) for event, verdict in decided)
    for (event_type, verdict), count in tally.items():
        EVENTS.labels(_EVENT_TYPES[event_type], verdict.value).inc(count)


def count_rejections(rejections: Iterable[tuple[str, str]]) -> None:
    """Count rejections; each has a source and a code."""
    for (source, code), count in Tally(rejections).items():
        REJECTIONS.labels(source, code).inc(count)


def count_replies(replies: Sequence[Reply]) -> None:
    REPLIES.inc(len(replies))
    observe_all(LATENESS, [max(0.0, (reply.made_at - reply.window_ended_at).total_seconds()) for reply in replies])
