"""The examples in k8s/: what they name is there, and their values are values of the chart."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from rendered import render

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "k8s"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("values-*.yaml")), ids=lambda path: path.stem)
def test_its_values_render(path: Path) -> None:
    assert render(yaml.safe_load(path.read_text()))


def test_what_is_for_production_generates_no_password() -> None:
    """Argo CD would make another one at each look."""
    objects = render(yaml.safe_load((EXAMPLES / "values-production.yaml").read_text()))
    assert not [each for each in objects if each["kind"] == "StatefulSet"]
    assert not [each for each in objects if each["kind"] == "Secret" and {"data", "stringData"} & each.keys()]


def test_the_paths_in_gitops_examples_are_there() -> None:
    (application,) = yaml.safe_load_all((EXAMPLES / "argocd-application.yaml").read_text())
    source = application["spec"]["source"]
    assert (ROOT / source["path"] / "Chart.yaml").exists()
    assert all((ROOT / source["path"] / name).resolve().exists() for name in source["helm"]["valueFiles"])
    _, release = yaml.safe_load_all((EXAMPLES / "flux-helmrelease.yaml").read_text())
    chart = release["spec"]["chart"]["spec"]
    assert (ROOT / chart["chart"] / "Chart.yaml").exists()
    assert all((ROOT / name).exists() for name in chart["valuesFiles"])
