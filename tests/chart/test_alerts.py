"""The alerts: each has a runbook, looks at metrics that there are, and at this release's pods alone."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import prometheus_client
import pytest

from rendered import NAMESPACE, RELEASE, found, render

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
COUNTING = (
    "realmate.conversations.observation",
    "realmate.kube_operator.observation",
    "realmate.runtime.followed",
    "realmate.runtime.http.observation",
    "realmate.runtime.limits",
    "realmate.runtime.readers",
    "realmate.webhook.observation",
)


@pytest.fixture(scope="module")
def alerts() -> list[dict[str, Any]]:
    rule = found(render({"metrics": {"prometheusRule": {"enabled": True}}}), "PrometheusRule", "")
    [group] = rule["spec"]["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def test_each_has_a_runbook_and_each_runbook_its_alert(alerts: list[dict[str, Any]]) -> None:
    assert {alert["alert"] for alert in alerts} == {path.stem for path in RUNBOOKS.glob("*.md")}
    for alert in alerts:
        path = ROOT / alert["annotations"]["runbook_url"]
        assert path.read_text().startswith(f"# {alert['alert']}\n")
        assert alert["labels"]["severity"] in {"critical", "warning"}


def test_the_metrics_are_there_with_their_labels(alerts: list[dict[str, Any]]) -> None:
    known: dict[str, set[str]] = {}
    for module in COUNTING:
        things = vars(import_module(module)).values()
        for metric in [*things, *(each for thing in things if isinstance(thing, dict) for each in thing.values())]:
            if isinstance(metric, prometheus_client.metrics.MetricWrapperBase):
                [family] = metric.describe()
                known |= {family.name + suffix: set(metric._labelnames) for suffix in ("", "_total")}  # noqa: SLF001
    looked_at = [found for alert in alerts for found in re.findall(r"(realmate_\w+)\{(.*?)\}", alert["expr"])]
    assert looked_at
    for name, selectors in looked_at:
        labels = set(re.findall(r"(\w+)=~?\"", selectors))
        assert labels - {"namespace", "pod"} <= known[name]
        assert {"namespace", "pod"} <= labels
    for alert in alerts:
        for labels_of_it in re.findall(r"by \((.*?)\)", alert["expr"]):
            [name] = re.findall(r"realmate_\w+", alert["expr"])
            assert set(labels_of_it.split(", ")) <= known[name]


def test_they_look_at_this_release_alone(alerts: list[dict[str, Any]]) -> None:
    for alert in alerts:
        assert alert["expr"].count(f'namespace="{NAMESPACE}", pod=~"{RELEASE}-.+"') == alert["expr"].count("realmate_")
