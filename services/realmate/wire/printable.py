"""Text of strangers, made safe for a terminal: it keeps no character that the terminal would obey."""

from __future__ import annotations

import re

_OBEYED = (
    r"\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\U000e0000-\U000e007f"
)
"""Control characters (C0, C1), those that turn the direction of writing, separators of lines, lone surrogates, tags."""
_escaped = re.compile(f"[{_OBEYED}]")
_escaped_in_a_line = re.compile(rf"[{_OBEYED}\n]")


def printable(text: str) -> str:
    """The text with such characters written as Python writes them (`\\x1b`). Line ends stay."""
    return _escaped.sub(_as_python, text)


def printable_line(text: str) -> str:
    """Return the text in one line: its line ends are escaped, too."""
    return _escaped_in_a_line.sub(_as_python, text)


def printable_json(text: str) -> str:
    """JSON that means the same, with such characters escaped as JSON has it."""
    return _escaped.sub(lambda found: "".join(f"\\u{unit:04x}" for unit in _utf_16(found[0])), text)


def _as_python(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


def _utf_16(character: str) -> list[int]:
    content = character.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(content[start : start + 2]) for start in range(0, len(content), 2)]
