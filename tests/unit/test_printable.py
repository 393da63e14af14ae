"""What strangers wrote is shown so that no terminal obeys it, and JSON stays the same JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmate.wire.printable import printable, printable_json, printable_line

OBEYED = [*map(chr, [*range(10), *range(11, 32), *range(127, 160), 0x61C, 0x200E, 0x200F, 0xFEFF, 0xD800, 0xE0041])]
OBEYED += [*map(chr, [*range(0x2028, 0x202F), *range(0x2066, 0x206A)])]


@pytest.mark.parametrize("character", OBEYED, ids=ascii)
def test_what_a_terminal_would_obey_is_written_out(character: str) -> None:
    for show in (printable, printable_line):
        assert show(f"a{character}b") == f"a{character.encode('unicode_escape').decode()}b"


def test_what_people_write_is_shown_as_it_is() -> None:
    text = "Olá, ça va? 🏠👨‍👩‍👧‍👦🇧🇷 שלום עולם 今日は a\u0303 \\ \"'"
    assert printable(f"{text}\n{text}") == f"{text}\n{text}"
    assert printable_line(f"{text}\n{text}") == f"{text}\\n{text}"


@given(st.text())
def test_json_means_the_same_and_drives_nothing(text: str) -> None:
    shown = printable_json(json.dumps({"text": text}, ensure_ascii=False))
    assert json.loads(shown) == {"text": text}
    assert not set(OBEYED) & set(shown)
