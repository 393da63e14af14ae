"""What a change of the templates changes in the objects, for its reviewer: `make snapshots` writes them anew.

Without the definitions, the dashboard and the Secrets, which are random.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from rendered import CHART, render

SNAPSHOTS = Path(__file__).parent / "snapshots"
PRODUCTION = yaml.safe_load((CHART.parents[1] / "k8s/values-production.yaml").read_text())
WITHOUT_SECRETS: dict[str, Any] = {
    "postgres": {"existingSecret": "postgres"},
    "redis": {"existingSecret": "redis"},
    "transport": {"keys": {"existingSecret": "transport-keys"}},
}
CASES: dict[str, dict[str, Any]] = {"default": WITHOUT_SECRETS, "production": PRODUCTION}


@pytest.mark.parametrize("name", CASES)
def test_the_objects_are_those_of_the_snapshot(name: str) -> None:
    path = SNAPSHOTS / f"{name}.yaml"
    objects = [
        each for each in render(CASES[name] | {"crds": {"enabled": False}}) if "dashboard" not in str(each["metadata"])
    ]
    rendered = yaml.safe_dump_all(objects, sort_keys=False, width=120)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(rendered)
    assert path.read_text() == rendered, "look at what has changed: make snapshots, then git diff"
