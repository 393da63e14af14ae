"""A source: a sender with a name, and the rules it is taken by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from realmate.domain.model import Rules
from realmate.sources.limits import RateLimit
from realmate.sources.responders import Responder
from realmate.sources.signing import Verifier

DEFAULT = "default"
"""The source of `POST /webhook/`."""


DAY_S = 86_400.0


class Keep(NamedTuple):
    """How many rejections are kept, and for how long."""

    max_count: int = 10_000
    max_age_s: float = 30 * DAY_S


DEFAULT_KEEP = Keep()


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    name: str
    verifier: Verifier | None = None
    """The check of signatures; None: anyone may send as this source."""
    max_body_bytes: int | None = None
    """The limit for this source. It is below HTTP_MAX_BODY_BYTES, which bounds every request."""
    limit: RateLimit | None = None
    own_rules: Mapping[str, Any] = field(default_factory=dict)
    """The fields of Rules that the source has of its own."""
    keep: Keep = DEFAULT_KEEP
    responder: Responder | None = None
    """The service that writes the replies; None: a reply lists the messages' ids."""
    retention_s: float | None = None
    """How long a closed conversation is kept; None: for ever."""
    paused: bool = False
    """Nothing is taken from it for now; its senders are to send again."""

    @property
    def signs_key(self) -> bool:
        """Whether the source itself chose the idempotency key of an admitted request."""
        return self.verifier is not None and self.verifier.signs_key

    @property
    def rejections_kept_s(self) -> float:
        """How long a rejection is kept: no longer than a closed conversation, so nothing outlives the retention."""
        return min(self.keep.max_age_s, self.retention_s or self.keep.max_age_s)

    def rules(self, default: Rules) -> Rules:
        return replace(default, **self.own_rules)
