"""The schema of an endpoint in the file of sources: its settings, with their bounds and what they mean.

`make generate` writes the table in docs/endpoints.md from it.
"""

from __future__ import annotations

from math import ceil
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from realmate.domain.changes import EVENT_TYPES
from realmate.sources.endpoints import SVIX_SCHEDULE_S
from realmate.sources.limits import MAX_EVENTS_PER_S, MIN_EVENTS_PER_S, RateLimit
from realmate.sources.names import is_name
from realmate.sources.schema import Secret, check_url, default

HOUR_S = 3_600.0
Pause = Annotated[float, Meta(ge=0, le=7 * 86_400)]


class EndpointSettings(msgspec.Struct, forbid_unknown_fields=True):
    url: Annotated[str, Meta(description="Where each event is POSTed. https; http only with allow_private.")]
    secrets: Annotated[
        list[Secret],
        Meta(
            min_length=1,
            max_length=10,
            description="Each signs every request, so that the receiver's secret can be rotated.",
        ),
    ]
    events: (
        Annotated[
            list[str],
            Meta(
                min_length=1,
                description="The types of events that it is told, as [reading.md](reading.md) names them.",
                extra=default("all"),
            ),
        ]
        | None
    ) = None
    sources: (
        Annotated[
            list[str],
            Meta(
                min_length=1,
                description="The names of the sources whose events it is told.",
                extra=default("all"),
            ),
        ]
        | None
    ) = None
    schedule: Annotated[
        Literal["svix"] | Annotated[list[Pause], Meta(max_length=50)],
        Meta(
            description="The pauses between the attempts of one delivery: a list of seconds, or `svix`, which is 5 s,"
            " 5 min, 30 min, 2 h, 5 h, 10 h and 10 h. Up to a tenth is added at random. After the last one the delivery"
            " is given up."
        ),
    ] = "svix"
    allow_private: Annotated[
        bool, Meta(description="Whether the address may be one that is not of the public Internet.")
    ] = False
    timeout_s: Annotated[
        float,
        Meta(gt=0, le=60, description="Seconds for one request, from the name's resolution to the response's end."),
    ] = 15.0
    concurrency: Annotated[int, Meta(ge=1, le=256, description="Requests in flight, of each deliveries process.")] = 16
    rate: (
        Annotated[
            float,
            Meta(
                ge=MIN_EVENTS_PER_S,
                le=MAX_EVENTS_PER_S,
                description="Requests a second, over all replicas of deliveries.",
            ),
        ]
        | None
    ) = None
    pause_after_h: Annotated[
        float,
        Meta(gt=0, le=8_760, description="Hours of nothing but failures, after which the endpoint is paused."),
    ] = 24.0

    def __post_init__(self) -> None:
        check_url(self.url, allow_private=self.allow_private)
        for event in self.events or ():
            if event not in EVENT_TYPES:
                raise ValueError(f"events: {event!r} is no event; there are {', '.join(EVENT_TYPES)}")
        for source in self.sources or ():
            if not is_name(source):
                raise ValueError(f"sources: {source!r} is no source's name")

    @property
    def schedule_s(self) -> tuple[float, ...]:
        return SVIX_SCHEDULE_S if self.schedule == "svix" else tuple(map(float, self.schedule))

    @property
    def limit(self) -> RateLimit | None:
        return None if self.rate is None else RateLimit(self.rate, ceil(self.rate))
