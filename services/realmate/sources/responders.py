"""The service that writes a source's replies, where a source has one."""

from __future__ import annotations

from dataclasses import dataclass

from realmate.sources.signing import StandardWebhooks


@dataclass(frozen=True, slots=True, eq=False)
class Responder:
    url: str
    signer: StandardWebhooks
    timeout_s: float = 5.0
    """How long one request may take."""
    retry_for_s: float = 60.0
    """How long requests are tried again, from the end of the group. Then the fallback is the reply."""
    concurrency: int = 8
    """How many requests one process has in flight."""
    fallback: str | None = None
    """The reply where the responder gave none. None: the reply lists the messages' ids."""
    allow_private: bool = False
