"""docs/delivery-contract.md names what tests its sentences; what it names is there, and no law goes unmentioned."""

from __future__ import annotations

import re
from pathlib import Path

from checker import LAWS

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "delivery-contract.md").read_text()


def test_every_law_is_told() -> None:
    assert [law.__name__ for law in LAWS if f"`{law.__name__}`" not in PAGE] == []


def test_what_it_names_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)(?:\.\w+)?`", PAGE)) | set(re.findall(r"`(test_\w+)\.py`", PAGE))
    files = list(TESTS.rglob("test_*.py"))
    known = {path.stem for path in files} | {
        name for path in files for name in re.findall(r"def (test_\w+)", path.read_text())
    }
    assert named
    assert named <= known
