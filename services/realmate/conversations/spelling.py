"""SQL that finds an id in the body of a request that could not be parsed.

An id may stand there in either case, with hyphens or without, with characters escaped as in JSON, or in UTF-16.
"""

from __future__ import annotations

from functools import reduce

_DIGITS = "0123456789abcdef"
_ESCAPED = {f"\\u{ord(character):04x}": character for each in _DIGITS for character in {each, each.upper()}} | {
    "\\u002d": ""
}
_DROPPED = ("-", "\\000")
"""Hyphens, and the zero bytes of UTF-16 as `encode(…, 'escape')` writes them."""


def digits_of(conversation_id: str) -> str:
    """Return the digits that `names` searches for."""
    return conversation_id.replace("-", "")


def names(text: str, digits: str) -> str:
    """SQL: whether the bytea `text` names the id with these digits. Both are SQL, too."""
    plain = f"lower(encode({text}, 'escape'))"
    # A backslash is doubled by `encode`. The second look costs much more, and few bodies have such escapes.
    return (
        f"CASE WHEN strpos({_without(plain)}, {digits}) > 0 THEN true"
        f" WHEN strpos({plain}, '\\\\u00') = 0 THEN false"
        f" ELSE strpos({_without(_unescaped(plain))}, {digits}) > 0 END"
    )


def _without(text: str) -> str:
    return reduce(lambda so_far, dropped: f"replace({so_far}, '{dropped}', '')", _DROPPED, text)


def _unescaped(text: str) -> str:
    escapes = {code.replace("\\", "\\\\"): character.lower() for code, character in _ESCAPED.items()}
    return reduce(lambda so_far, code: f"replace({so_far}, '{code}', '{escapes[code]}')", sorted(escapes), text)
