"""The documentation's indexes. Its links are checked by `make check`, which builds the site."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("folder", ["adr", "runbooks"])
def test_an_index_names_every_page_by_its_title(folder: str) -> None:
    index = (DOCS / folder / "README.md").read_text()
    listed = {page: title for title, page in re.findall(r"\[(.+?)\]\(([\w-]+\.md)\)", index)}
    pages = {path.name: path.read_text().split("\n")[0].removeprefix("# ") for path in (DOCS / folder).glob("*.md")}
    assert listed == {page: title for page, title in pages.items() if page != "README.md"}


def test_the_first_page_leads_to_every_other_one() -> None:
    linked = set(re.findall(r"\]\(([\w/-]+\.md)\)", (DOCS / "README.md").read_text()))
    assert linked == {path.name for path in DOCS.glob("*.md")} - {"README.md"} | {"adr/README.md", "runbooks/README.md"}
