"""A source: a sender with a name, and the rules it is taken by."""

from __future__ import annotations

from dataclasses import dataclass

from realmate.sources.limits import Limit
from realmate.sources.signing import Verifier

DEFAULT = "default"
"""The source of `POST /webhook/`."""


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    name: str
    verifier: Verifier | None = None
    """None: anyone may send as this source."""
    max_body_bytes: int | None = None
    """Less than HTTP_MAX_BODY_BYTES, which bounds every request."""
    limit: Limit | None = None
