"""UUIDs in the textual forms people use: hyphenated, bare hex, in braces, as a URN, in either case.

Inside Realmate an id is its canonical text (lower case, hyphenated) and never a `UUID`: text is what comes in, what
psycopg2 speaks and what goes out, and it is hashed, compared and sorted in C.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_HYPHENATED = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_FORMS = re.compile(rf"(?:urn:uuid:)?{_HYPHENATED}|\{{{_HYPHENATED}\}}|[0-9a-f]{{32}}", re.IGNORECASE | re.ASCII)
_is_canonical = re.compile(_HYPHENATED).fullmatch
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789abcdef", b"0" * 15)
_ZERO = b"00000000-0000-0000-0000-000000000000,"


def parse_uuid(text: str) -> str:
    """The canonical form; ValueError for what is no UUID. (`UUID()` takes hyphens anywhere and unbalanced braces.)"""
    if _is_canonical(text):
        return text
    if _FORMS.fullmatch(text) is None:
        raise ValueError("must be a UUID")
    digits = text.lower().removeprefix("urn:uuid:").strip("{}").replace("-", "")
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def are_canonical(ids: Sequence[str]) -> bool:
    """Whether all of them are canonical. (One look at all of them costs much less than a look at each.)"""
    text = ",".join((*ids, "")).encode("ascii", "replace")
    return text.translate(_DIGITS_TO_ZERO) == _ZERO * len(ids)
