"""What a change of the templates changes in the objects, for its reviewer: `make snapshots` writes them anew.

Without the definitions, the dashboard and the Secrets, which are random.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from helm import helm, helm_3
from rendered import CHART, render

SNAPSHOTS = Path(__file__).parent / "snapshots"
PRODUCTION = yaml.safe_load((CHART.parents[1] / "k8s/values-production.yaml").read_text())
WITHOUT_SECRETS: dict[str, Any] = {
    "postgres": {"existingSecret": "postgres"},
    "redis": {"existingSecret": "redis"},
    "transport": {"keys": {"existingSecret": "transport-keys"}},
}
CASES: dict[str, dict[str, Any]] = {"default": WITHOUT_SECRETS, "production": PRODUCTION}


@pytest.mark.parametrize("by", [helm, helm_3])
@pytest.mark.parametrize("name", CASES)
def test_the_objects_are_those_of_the_snapshot(name: str, by: Callable[[], str]) -> None:
    path = SNAPSHOTS / f"{name}.yaml"
    objects = render(CASES[name] | {"crds": {"enabled": False}}, by=by)
    shown = [each for each in objects if "dashboard" not in each["metadata"]["name"]]
    text = yaml.safe_dump_all(shown, sort_keys=False, width=120)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(text)
    assert path.read_text() == text, "look at what has changed: make snapshots, then git diff"
