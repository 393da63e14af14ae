"""The calls under `/admin/endpoints/`, as the API's document describes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from realmate.admin.endpoint_states import COUNTED_AT_MOST
from realmate.console.calls import NOT_FOUND, paging_parameters
from realmate.console.deliveries import KINDS, LIMIT, MOST
from realmate.console.endpoint_views import (
    Attempt,
    DayOfAttempts,
    DeliveriesPage,
    DeliveryView,
    EndpointList,
    EndpointView,
    Resent,
    Tried,
)
from realmate.console.endpoints import (
    FEED_STARTING,
    NO_SECRETS,
    NOT_BEGUN,
    NOT_IN_FILE,
    place_forgotten,
)
from realmate.wire.openapi import Operation, Parameter, Success
from realmate.wire.responses import Response

_AT = datetime(2026, 11, 27, 14, 20, 5, tzinfo=UTC)
_EVENT = "evt_8d9f0f4e5a6b7c8d9e0f1a2b3c4d5e6f"
_FAILURE = Attempt(912, _AT, "failed", 500, "status 500", "the disk is full", 38, 2)
_ENDPOINT = EndpointView(
    name="crm",
    url="https://crm.example.com/realmate",
    enabled=True,
    state="failing",
    since=_AT - timedelta(seconds=5),
    pause_reason=None,
    events=None,
    sources=["shop"],
    waiting=1,
    counted_at_most=COUNTED_AT_MOST,
    behind=0,
    next_attempt_at=_AT + timedelta(minutes=5),
    last_success=Attempt(910, _AT - timedelta(minutes=1), "delivered", 204, "", "", 21, 1),
    last_failure=_FAILURE,
    day=DayOfAttempts(delivered=40, failed=2),
)
_DELIVERY = DeliveryView(
    _EVENT,
    "reply.created",
    _AT - timedelta(seconds=6),
    "shop",
    "6a41b347-8d80-4ce9-84ba-7af66f369f6a",
    attempts=2,
    pending=True,
    next_attempt_at=_AT + timedelta(minutes=5),
    attempt=_FAILURE,
)
_NAME = Parameter("name", {"type": "string"}, "The name of the endpoint.", place="path")
_OF_SOURCES = "A token with `sources` sees the endpoints that are told of those sources alone."


def _deed(what: str, summary: str, told: str, problems: tuple[Response, ...], description: str) -> Operation:
    """Describe a call that changes an endpoint, and answers how it is then."""
    return Operation(
        "POST",
        f"/admin/endpoints/{{name}}/{what}",
        f"{what}_endpoint",
        summary,
        (Success(200, told, EndpointView, example=_ENDPOINT),),
        (NOT_FOUND, *problems),
        description,
        (_NAME,),
        scope="operate",
        tag="operations",
    )


OPERATIONS = (
    Operation(
        "GET",
        "/admin/endpoints/",
        "list_endpoints",
        "List the endpoints, and how they fare",
        (Success(200, "The endpoints that the token may see.", EndpointList, example=EndpointList([_ENDPOINT])),),
        (),
        _OF_SOURCES,
        scope="operate",
        tag="operations",
    ),
    Operation(
        "GET",
        "/admin/endpoints/{name}/deliveries/",
        "list_deliveries",
        "List what was sent to an endpoint, or what waits",
        (
            Success(
                200,
                "The attempts that are kept, or the pending deliveries, without any content.",
                DeliveriesPage,
                headers=("Link",),
                example=DeliveriesPage([_DELIVERY], None),
            ),
        ),
        (NOT_FOUND, NOT_BEGUN),
        _OF_SOURCES,
        (
            _NAME,
            Parameter(
                "show",
                {"enum": [*KINDS], "default": KINDS[0]},
                "`attempts`: the newest first. `failures`: those that were not well. `pending`: the oldest delivery of"
                " each conversation that waits, the next one first.",
            ),
            *paging_parameters(LIMIT, MOST),
        ),
        scope="operate",
        tag="operations",
    ),
    _deed(
        "pause",
        "Pause an endpoint",
        "It is paused.",
        (NOT_BEGUN,),
        "Nothing is sent to it then. Its deliveries wait, and its place in the feed stands still.",
    ),
    _deed(
        "resume",
        "Resume an endpoint",
        "It goes on from its place in the feed, with all retries due at once.",
        (NOT_BEGUN, place_forgotten("crm", "2026-11-20T00:00:00Z"), FEED_STARTING),
        "An endpoint that was not paused has its retries due at once, too. Where the feed is not kept from there on,"
        " `realmate endpoints recover` makes the deliveries.",
    ),
    Operation(
        "POST",
        "/admin/endpoints/{name}/test",
        "test_endpoint",
        "Send an endpoint a sample",
        (
            Success(
                200,
                "What was answered, or why there is no answer.",
                Tried,
                example=Tried(_EVENT, "conversation.opened", True, 204, "", "", 21),  # noqa: FBT003 (an example)
            ),
        ),
        (NOT_FOUND, NOT_IN_FILE, NO_SECRETS),
        "It is an event with ids that nobody knows, of the first type that the endpoint wants. The console signs and"
        " sends it, once, whether the endpoint is paused or not. It is no delivery, and so in no list of them.",
        (_NAME,),
        scope="operate",
        tag="operations",
    ),
    Operation(
        "POST",
        "/admin/endpoints/{name}/deliveries/{number}/retry",
        "retry_delivery",
        "Send an event to an endpoint again",
        (Success(202, "It will be sent.", Resent, example=Resent(_EVENT, paused=False)),),
        (NOT_FOUND, NOT_BEGUN),
        "The event has the id that it had. A pending one is due at once. One delivered or given up comes behind"
        " what waits in its conversation.",
        (
            _NAME,
            Parameter("number", {"type": "integer", "minimum": 0}, "The `id` of an attempt at it.", place="path"),
        ),
        scope="operate",
        tag="operations",
    ),
)
