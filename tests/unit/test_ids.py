from __future__ import annotations

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmate.wire.ids import are_canonical, parse_uuid

CANONICAL = st.uuids().map(str)
SPOILED = st.sampled_from(["", "x" * 36, "0" * 32, "é" * 36, "\ud800", ",", f"{uuid4()},{uuid4()}", f"{uuid4()}\n"])


def is_canonical(text: str) -> bool:
    try:
        return parse_uuid(text) == text
    except ValueError:
        return False


@given(st.lists(CANONICAL | CANONICAL.map(str.upper) | SPOILED | st.text(max_size=40), max_size=5))
def test_a_look_at_all_ids_finds_what_a_look_at_each_finds(ids: list[str]) -> None:
    assert are_canonical(ids) == all(is_canonical(each) for each in ids)


@pytest.mark.parametrize("other", ["x", "g", "A", "-", ",", " ", "٣", "\0"])
def test_one_other_character_anywhere_is_found(other: str) -> None:
    text = str(uuid4())
    for place in range(len(text)):
        spoiled = text[:place] + other + text[place + 1 :]
        assert are_canonical([text, spoiled]) == (spoiled == text)
