"""UUIDs in the textual forms people use: hyphenated, bare hex, in braces, as a URN, in either case."""

from __future__ import annotations

import re
from uuid import UUID

_HYPHENATED = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_FORMS = re.compile(rf"(?:urn:uuid:)?{_HYPHENATED}|\{{{_HYPHENATED}\}}|[0-9a-f]{{32}}", re.IGNORECASE | re.ASCII)


def parse_uuid(text: str) -> UUID:
    """Raise ValueError for anything else. (`UUID()` alone takes hyphens anywhere and unbalanced braces.)"""
    if _FORMS.fullmatch(text) is None:
        raise ValueError("must be a UUID")
    return UUID(text.lower())  # it knows the URN prefix in lower case only
