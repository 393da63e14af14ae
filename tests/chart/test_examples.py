"""The examples in k8s/: what they name is there, and their values are values of the chart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from realmate.kube_operator import spec
from realmate.kube_operator.entries import kind_of
from rendered import render
from signatures import SECRET

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "k8s"
OBJECTS = [EXAMPLES / f"{name}.yaml" for name in ("webhooksources", "webhookendpoints")]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("values-*.yaml")), ids=lambda path: path.stem)
def test_its_values_render(path: Path) -> None:
    assert render(yaml.safe_load(path.read_text()))


def test_what_is_for_production_generates_no_password() -> None:
    """Argo CD would make another one at each look."""
    objects = render(yaml.safe_load((EXAMPLES / "values-production.yaml").read_text()))
    assert not [each for each in objects if each["kind"] == "StatefulSet"]
    assert not [each for each in objects if each["kind"] == "Secret" and {"data", "stringData"} & each.keys()]


@pytest.mark.parametrize(
    "published",
    [each for path in OBJECTS for each in yaml.safe_load_all(path.read_text())],
    ids=lambda each: each["metadata"]["name"],
)
def test_its_sources_and_endpoints_are_right(published: dict[str, Any]) -> None:
    secrets = {reference.name: {reference.key: SECRET} for reference in spec.references(published)}
    kind_of(published).check(published["metadata"]["name"], spec.settings(published, secrets, [SECRET]))
    [definition] = [
        each["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for each in render()
        if each["kind"] == "CustomResourceDefinition" and each["spec"]["names"]["kind"] == published["kind"]
    ]
    assert unknown(published["spec"], definition["properties"]["spec"]) == []


def unknown(value: Any, schema: dict[str, Any]) -> list[str]:
    """The fields that a definition does not have."""
    if isinstance(value, list):
        return [name for each in value for name in unknown(each, schema["items"])]
    if not isinstance(value, dict):
        return []
    known = schema["properties"]
    within = [name for field, each in value.items() if field in known for name in unknown(each, known[field])]
    return [field for field in value if field not in known] + within


def test_the_paths_in_gitops_examples_are_there() -> None:
    (application,) = yaml.safe_load_all((EXAMPLES / "argocd-application.yaml").read_text())
    source = application["spec"]["source"]
    assert (ROOT / source["path"] / "Chart.yaml").exists()
    assert all((ROOT / source["path"] / name).resolve().exists() for name in source["helm"]["valueFiles"])
    _, release = yaml.safe_load_all((EXAMPLES / "flux-helmrelease.yaml").read_text())
    chart = release["spec"]["chart"]["spec"]
    assert (ROOT / chart["chart"] / "Chart.yaml").exists()
    assert all((ROOT / name).exists() for name in chart["valuesFiles"])
