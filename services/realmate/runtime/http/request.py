"""A complete HTTP request, as a batch entrypoint hands it to a service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Request:
    """One request whose body has arrived whole."""

    method: str
    path: str
    """Percent-decoded, without the query string."""
    query: str
    """The raw query string, without the question mark."""
    headers: dict[str, str]
    """Names in lower case; repeated ones joined by ", " (RFC 9110, 5.2)."""
    body: bytes
    request_id: str
    """From the sender's X-Request-Id where that is sane, else made here. Echoed in the answer."""
    arrived_at: float
    """time.monotonic() when the request was complete."""
    param: str = ""
    """What the route's `{…}` segment matched."""
