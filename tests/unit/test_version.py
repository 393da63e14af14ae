"""The version stands in pyproject.toml; `make version` copies it to the other places that need it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
COPIES = {
    "charts/realmate/Chart.yaml": r"^version: (.*)$|^appVersion: \"(.*)\"$|image: realmate:(.*)$",
    "docker-compose.yml": r"realmate:(\d\S*)",
    "Dockerfile": r"^ARG VERSION=(.*)$",
    "README.md": r"`realmate:(\d[^`]*)`",
    "docs/kubernetes.md": r"realmate:(\d\S*)",
}


@pytest.mark.parametrize("name", COPIES)
def test_every_copy_of_the_version_is_that_of_the_project(name: str) -> None:
    found = re.findall(COPIES[name], (ROOT / name).read_text(), re.MULTILINE)
    assert found
    assert {text for groups in found for text in ([groups] if isinstance(groups, str) else groups) if text} == {VERSION}
