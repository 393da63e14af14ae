"""The forms in which the console's API shows endpoints and their deliveries: no secret, and no event's content."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from realmate.console.calls import Listing, Moment, Uuid

PauseReason = Literal["asked", "failing", "gone", "expired", "recovering"]
Outcome = Literal["delivered", "failed", "given_up"]


class Attempt(msgspec.Struct):
    """One attempt at a delivery, and what was answered."""

    id: int
    at: Moment
    outcome: Outcome
    status: Annotated[int | None, msgspec.Meta(description="The status of the answer, if there was one.")]
    failure: Annotated[str, msgspec.Meta(description="Why it was not delivered; empty, where it was.")]
    answer: Annotated[str, msgspec.Meta(description="The first bytes of the answer. What is no UTF-8 is escaped.")]
    took_ms: int
    number: Annotated[int, msgspec.Meta(description="Which attempt at the event it was, from 1 on.")]

    @classmethod
    def of(cls, row: Any) -> Attempt | None:
        """Return what a row tells of an attempt; None, where there is none."""
        if row is None or row.id is None:
            return None
        answer = bytes(row.answer).decode(errors="backslashreplace")
        return cls(row.id, row.at, row.outcome, row.status, row.failure, answer, row.took_ms, row.number)


class DayOfAttempts(msgspec.Struct):
    """The attempts of the last 24 hours, as far as they are kept: the newest 500 that were well, and 1,000 others."""

    delivered: int = 0
    failed: int = 0
    given_up: int = 0


class EndpointView(msgspec.Struct, kw_only=True):
    """An endpoint, without any secret."""

    name: str
    url: Annotated[str | None, msgspec.Meta(description="Where it is; null, where no file names it any more.")]
    enabled: Annotated[bool, msgspec.Meta(description="Whether it is in the file of sources now.")]
    state: Annotated[
        Literal["new", "delivering", "failing", "paused"],
        msgspec.Meta(
            description="`new`: no process has read of it yet. `failing`: there was nothing but failures since `since`."
        ),
    ]
    since: Annotated[Moment | None, msgspec.Meta(description="When it was paused, or began to fail.")]
    pause_reason: Annotated[
        PauseReason | None,
        msgspec.Meta(
            description="`asked`: a person did. `failing`: it failed for too long. `gone`: it answered 410. `expired`:"
            " the feed is not kept from its place on. `recovering`: it is being recovered."
        ),
    ]
    events: Annotated[list[str] | None, msgspec.Meta(description="The types of events that it is told; null: all.")]
    sources: Annotated[list[str] | None, msgspec.Meta(description="The sources that it is told of; null: all.")]
    waiting: Annotated[int, msgspec.Meta(description="Conversations with pending deliveries, up to `counted_at_most`.")]
    counted_at_most: int
    behind: Annotated[int, msgspec.Meta(description="Changes in the feed that are no deliveries yet.")]
    next_attempt_at: Annotated[
        Moment | None, msgspec.Meta(description="When the next pending delivery is due, unless the endpoint is paused.")
    ]
    last_success: Attempt | None
    last_failure: Attempt | None
    day: DayOfAttempts


class EndpointList(msgspec.Struct):
    """The endpoints, in the order of their names."""

    items: list[EndpointView]


class Tried(msgspec.Struct):
    """A sample that was sent, and what was answered."""

    event_id: str
    type: str
    delivered: bool
    status: int | None
    failure: str
    answer: str
    took_ms: int


class DeliveryView(msgspec.Struct):
    """A delivery, without its content."""

    event_id: Annotated[str | None, msgspec.Meta(description="Null, where it was not attempted yet.")]
    type: str
    at: Annotated[Moment, msgspec.Meta(description="The moment of the event.")]
    source: str
    conversation_id: Uuid
    attempts: Annotated[int, msgspec.Meta(description="How many there were up to the one that is shown.")]
    pending: Annotated[bool, msgspec.Meta(description="Whether the event is yet to be delivered, or sent again.")]
    next_attempt_at: Annotated[
        Moment | None, msgspec.Meta(description="When its conversation's turn comes, if that is not at this moment.")
    ]
    attempt: Annotated[Attempt | None, msgspec.Meta(description="Null, where there was none yet.")]


class DeliveriesPage(Listing[DeliveryView]):
    """One page of an endpoint's attempts, the newest first; or of its pending deliveries, the next one first."""


class Resent(msgspec.Struct):
    """An event that will be sent again."""

    event_id: str
    paused: Annotated[bool, msgspec.Meta(description="Whether that waits until the endpoint is resumed.")]
