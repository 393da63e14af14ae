"""The schema of the file of sources: its tables and settings, with their bounds and what they mean.

This is the only definition. `make generate` writes the table in docs/sources.md from it, and the schema of a
WebhookSource's spec, which has the same settings under names as Kubernetes spells them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from math import ceil
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from realmate.sources.limits import MAX_EVENTS_PER_S, MAX_WINDOW_S, MIN_EVENTS_PER_S, RateLimit
from realmate.sources.model import DAY_S, DEFAULT_KEEP, Keep
from realmate.sources.signing import MAX_TOLERANCE_S, HubSignature, StandardWebhooks, Verifier


def default(text: str) -> dict[str, str]:
    """Say in the documentation what holds where a setting is not given."""
    return {"default": text}


def check_url(url: str, *, allow_private: bool) -> None:
    """Raise ValueError where requests cannot, or must not, be sent to this address."""
    parts = urlsplit(url)
    if parts.scheme not in {"https", "http"} or not parts.hostname or parts.username is not None:
        raise ValueError("url must be https://host/path")
    if parts.scheme == "http" and not allow_private:
        raise ValueError("url must be https; http is for private networks (allow_private = true)")


class Secret(msgspec.Struct, forbid_unknown_fields=True):
    """A reference to a secret: exactly one field is set. A `file` is relative to the folder of the file of sources."""

    value: str | None = None
    file: str | None = None
    env: str | None = None

    def __post_init__(self) -> None:
        if sum(each is not None for each in (self.value, self.file, self.env)) != 1:
            raise ValueError("must have one of value, file and env")

    def __repr__(self) -> str:
        return "Secret(…)"


class Signing(msgspec.Struct, forbid_unknown_fields=True, tag_field="scheme"):
    secrets: Annotated[list[Secret], Meta(min_length=1, description="The secrets that are valid now, one or more.")]

    def key(self, secret: str) -> bytes:
        """Return the key that the secret stands for. Raises WeakSecret."""
        raise NotImplementedError

    def verifier(self, secrets: Sequence[str]) -> Verifier:
        """Raises WeakSecret."""
        raise NotImplementedError


class StandardWebhooksSigning(Signing, tag=StandardWebhooks.name):
    tolerance_s: Annotated[
        float,
        Meta(
            gt=0,
            le=MAX_TOLERANCE_S,
            description="Standard Webhooks: how far webhook-timestamp may be from the present, back and ahead.",
        ),
    ] = MAX_TOLERANCE_S

    def key(self, secret: str) -> bytes:
        return StandardWebhooks.key(secret)

    def verifier(self, secrets: Sequence[str]) -> Verifier:
        return StandardWebhooks(secrets, tolerance_s=self.tolerance_s)


class HubSigning(Signing, tag=HubSignature.name):
    def key(self, secret: str) -> bytes:
        return HubSignature.key(secret)

    def verifier(self, secrets: Sequence[str]) -> Verifier:
        return HubSignature(secrets)


class Limit(msgspec.Struct, forbid_unknown_fields=True):
    events_per_s: Annotated[
        float,
        Meta(
            ge=MIN_EVENTS_PER_S,
            le=MAX_EVENTS_PER_S,
            description="Events a second, over all replicas of webhook. What is beyond gets 429.",
        ),
    ]
    burst: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=1_000_000_000,
                description="Events that may come at once after a pause. A used-up burst must come back within 30 days"
                " (burst / events a second).",
                extra=default("one second's"),
            ),
        ]
        | None
    ) = None

    def __post_init__(self) -> None:
        if self.limit().window_s > MAX_WINDOW_S:
            raise ValueError(
                f"burst / events_per_s must be at most {MAX_WINDOW_S:g} seconds: so long a burst comes back"
            )

    def limit(self) -> RateLimit:
        return RateLimit(self.events_per_s, self.burst or ceil(self.events_per_s))


class Grouping(msgspec.Struct, forbid_unknown_fields=True):
    window_s: (
        Annotated[
            float,
            Meta(
                gt=0,
                le=3600,
                description="Seconds of silence that end a group of messages and bring its reply.",
                extra=default("`GROUP_WINDOW_S`"),
            ),
        ]
        | None
    ) = None
    max_wait_s: (
        Annotated[
            float,
            Meta(
                gt=0,
                le=86400,
                description="The most seconds from a group's first message to its end: somebody who never pauses gets a"
                " reply, too.",
            ),
        ]
        | None
    ) = None
    max_messages: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=100_000,
                description="The number of messages with which a group gets its reply at once.",
                extra=default("`GROUP_MAX_MESSAGES`"),
            ),
        ]
        | None
    ) = None


class Hold(msgspec.Struct, forbid_unknown_fields=True):
    tolerance_s: (
        Annotated[
            float,
            Meta(
                ge=0,
                le=3600,
                description="Seconds that a message waits for its conversation before it expires.",
                extra=default("`HOLD_TOLERANCE_S`"),
            ),
        ]
        | None
    ) = None
    max_messages: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=100_000,
                description="Messages that may wait for one conversation at the same time. What is beyond this and the"
                " next three bounds gets 429 too_many_held.",
                extra=default("`HOLD_MAX_MESSAGES`"),
            ),
        ]
        | None
    ) = None
    max_bytes: (
        Annotated[
            int,
            Meta(
                ge=262_144,
                le=1_073_741_824,
                description="Bytes of content that may wait for one conversation.",
                extra=default("`HOLD_MAX_BYTES`"),
            ),
        ]
        | None
    ) = None
    total_messages: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=10_000_000,
                description="Messages of the source that may wait, for all its conversations together. They are counted"
                " each second.",
                extra=default("`HOLD_TOTAL_MESSAGES`"),
            ),
        ]
        | None
    ) = None
    total_bytes: (
        Annotated[
            int,
            Meta(
                ge=262_144,
                le=1_099_511_627_776,
                description="Bytes of content of the source that may wait.",
                extra=default("`HOLD_TOTAL_BYTES`"),
            ),
        ]
        | None
    ) = None


class IdsReply(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="ids"):
    pass


class NoReply(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="none"):
    pass


class HttpReply(msgspec.Struct, forbid_unknown_fields=True, tag_field="kind", tag="http"):
    url: Annotated[
        str,
        Meta(
            description="Where each group is POSTed when it ends. https; http only with allow_private.",
        ),
    ]
    secrets: Annotated[
        list[Secret],
        Meta(min_length=1, description="Each signs the request, so that the receiver's secret can be rotated, too."),
    ]
    timeout_s: Annotated[
        float,
        Meta(
            gt=0, le=60, description="Seconds for one request, from the name's resolution to the response's last byte."
        ),
    ] = 5.0
    retry_for_s: Annotated[float, Meta(ge=0, le=86400, description="Seconds from the group's end to the fallback.")] = (
        60.0
    )
    concurrency: Annotated[
        int, Meta(ge=1, le=256, description="Requests in flight, of each conversations process.")
    ] = 8
    fallback: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=65_536,
                description="The reply where no response came.",
                extra=default("the messages' ids"),
            ),
        ]
        | None
    ) = None
    allow_private: Annotated[
        bool, Meta(description="Whether the address may be one that is not of the public Internet.")
    ] = False

    def __post_init__(self) -> None:
        check_url(self.url, allow_private=self.allow_private)


class Rejections(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    max_count: Annotated[int, Meta(ge=0, le=10_000_000, description="How many rejections are kept.")] = (
        DEFAULT_KEEP.max_count
    )
    max_age_days: Annotated[float, Meta(gt=0, le=3650, description="How many days a rejection is kept.")] = (
        DEFAULT_KEEP.max_age_s / DAY_S
    )

    def keep(self) -> Keep:
        return Keep(self.max_count, self.max_age_days * DAY_S)


class Retention(msgspec.Struct, forbid_unknown_fields=True):
    closed_days: Annotated[
        float,
        Meta(
            gt=0,
            le=36500,
            description="How many days a closed conversation is kept. No rejection is kept longer.",
            extra=default("`RETENTION_CLOSED_DAYS`"),
        ),
    ]


class SourceSettings(msgspec.Struct, forbid_unknown_fields=True):
    enabled: Annotated[
        bool,
        Meta(
            description="false: the source does not exist (404). [sources.default] alone with enabled = false closes"
            " /webhook/."
        ),
    ] = True
    paused: Annotated[
        bool,
        Meta(description="true: its events are answered 503 with Retry-After, so that its senders send them again."),
    ] = False
    max_body_bytes: (
        Annotated[
            int,
            Meta(
                ge=1,
                description="The largest body of an event; a larger one gets 413. HTTP_MAX_BODY_BYTES bounds every"
                " source. The longest content, 65,536 characters, needs 64 to 768 KiB, as it is written.",
                extra=default("`HTTP_MAX_BODY_BYTES`"),
            ),
        ]
        | None
    ) = None
    limit: Annotated[Limit, Meta(description="How fast it may send. Without it there is no limit.")] | None = None
    grouping: Annotated[Grouping, Meta(description="When a group of messages ends.")] | None = None
    hold: Annotated[Hold, Meta(description="Messages that come before their conversation.")] | None = None
    reply: (
        Annotated[
            IdsReply | NoReply | HttpReply,
            Meta(
                description="`ids`: the reply names the messages it answers. `none`: there are no groups and no"
                " replies. `http`: a service of yours writes the replies.",
                extra=default("`ids`"),
            ),
        ]
        | None
    ) = None
    rejections: Annotated[Rejections, Meta(description="What is kept of rejected events.")] = Rejections()
    retention: Annotated[Retention, Meta(description="How long conversations are kept.")] | None = None
    signing: (
        Annotated[
            StandardWebhooksSigning | HubSigning,
            Meta(description="How its requests are signed. Without it anyone may send as this source."),
        ]
        | None
    ) = None

    def own_rules(self) -> dict[str, Any]:
        """Return the fields of Rules that are given here."""
        given: dict[str, Any] = {}
        if self.grouping is not None:
            given["group_window"] = _duration(self.grouping.window_s)
            given["group_max_wait"] = _duration(self.grouping.max_wait_s)
            given["group_max_messages"] = self.grouping.max_messages
        if self.hold is not None:
            given["hold_tolerance"] = _duration(self.hold.tolerance_s)
            given["hold_max_messages"] = self.hold.max_messages
            given["hold_max_bytes"] = self.hold.max_bytes
            given["hold_total_messages"] = self.hold.total_messages
            given["hold_total_bytes"] = self.hold.total_bytes
        if self.reply is not None:
            given["replies"] = not isinstance(self.reply, NoReply)
        return {name: value for name, value in given.items() if value is not None}


def _duration(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
