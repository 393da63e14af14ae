"""The fuzzing targets hold for what hypothesis thinks of, starting from what is nearly right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import targets


@st.composite
def spoilt(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A seed with a few pieces replaced, taken out or put in."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 8)))
        data = data[:start] + draw(st.binary(max_size=8) | st.sampled_from(PIECES)) + data[end:]
    return data


PIECES = [
    b"\r\n",
    b"\n",
    b" ",
    b"\0",
    b"0",
    b"\r\n\r\n",
    b"Content-Length: 0\r\n",
    b"chunked",
    b'"',
    b"}",
    b"\xc3",
    b"v1,",
]


@pytest.mark.parametrize("name", targets.TARGETS)
@given(data=st.data())
def test_holds(name: str, data: st.DataObject) -> None:
    target = targets.TARGETS[name]
    target(data.draw(st.binary(max_size=300) | spoilt(targets.SEEDS[target])))
