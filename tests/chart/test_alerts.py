"""The alerts: each has a runbook, looks at metrics that there are, and at this release's pods alone."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from typing import Any

import prometheus_client
import pytest

from prometheus import alert_rules, promtool
from rendered import NAMESPACE, RELEASE, found, render

ROOT = Path(__file__).parents[2]
RUNBOOKS = ROOT / "docs" / "runbooks"
SECTIONS = ("Meaning", "Impact", "Diagnosis", "Mitigation")
COUNTING = (
    "realmate.conversations.metrics",
    "realmate.deliveries.metrics",
    "realmate.kube_operator.metrics",
    "realmate.runtime.reloading",
    "realmate.http_server.metrics",
    "realmate.runtime.limits",
    "realmate.http_server.readers",
    "realmate.query.streams",
    "realmate.runtime.database",
    "realmate.runtime.timers",
    "realmate.transport.metrics",
    "realmate.webhook.metrics",
)


@pytest.fixture(scope="module")
def alerts() -> list[dict[str, Any]]:
    [group] = alert_rules()["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def test_each_has_a_runbook_and_each_runbook_its_alert(alerts: list[dict[str, Any]]) -> None:
    current = {alert["alert"] for alert in alerts if "renamed" not in alert["annotations"]}
    assert current == {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"}
    for alert in alerts:
        path = ROOT / alert["annotations"]["runbook"]
        runbook = path.read_text()
        assert re.findall("^#+ (.*)", runbook, re.MULTILINE) == [path.stem, *SECTIONS]
        assert path.stem == alert["alert"] or path.stem in alert["annotations"]["renamed"]
        assert alert["labels"]["severity"] in {"critical", "warning"}


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """The labels of every metric there is, by the names that Prometheus has for it."""
    known: dict[str, set[str]] = {}
    for module in COUNTING:
        things = vars(import_module(module)).values()
        for metric in [*things, *(each for thing in things if isinstance(thing, dict) for each in thing.values())]:
            if isinstance(metric, prometheus_client.metrics.MetricWrapperBase):
                [family] = metric.describe()
                suffixes = ("", "_total", "_bucket")
                known |= {family.name + suffix: set(metric._labelnames) for suffix in suffixes}  # noqa: SLF001
    return known


def check_metrics(expressions: list[str], known: dict[str, set[str]]) -> None:
    """Each metric is one that there is, with its labels, of this release's pods alone."""
    for expression in expressions:
        for name, selectors in re.findall(r"(realmate_\w+)\{(.*?)\}", expression):
            labels = set(re.findall(r"(\w+)=~?\"", selectors))
            assert labels - {"namespace", "pod"} <= known[name]
            assert {"namespace", "pod"} <= labels
            for grouping in re.findall(r"by \((.*?)\)", expression):
                assert set(grouping.split(", ")) - {"le"} <= known[name]
        assert len(re.findall(r"realmate_\w+\{", expression)) == len(re.findall(r"realmate_\w+", expression)) > 0


def test_the_metrics_are_there_with_their_labels(alerts: list[dict[str, Any]], known: dict[str, set[str]]) -> None:
    check_metrics([alert["expr"] for alert in alerts], known)


def test_they_look_at_this_release_alone(alerts: list[dict[str, Any]]) -> None:
    for alert in alerts:
        assert alert["expr"].count(f'namespace="{NAMESPACE}", pod=~"{RELEASE}-.+"') == alert["expr"].count("realmate_")


@pytest.fixture(scope="module")
def board() -> dict[str, Any]:
    dashboard = found(render({"metrics": {"dashboard": {"enabled": True}}}), "ConfigMap", "dashboard")
    told: dict[str, Any] = json.loads(dashboard["data"]["realmate.json"])
    return told


def test_prometheus_understands_each_panel_of_the_dashboard(board: dict[str, Any], tmp_path: Path) -> None:
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    told = [each.replace("$__rate_interval", "5m") for each in expressions]
    rules = [{"record": f"panel:{number}", "expr": each} for number, each in enumerate(told)]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", tmp_path / "rules.yaml")


def test_the_dashboard_shows_metrics_that_there_are(board: dict[str, Any], known: dict[str, set[str]]) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    check_metrics([each for each in expressions if "process_" not in each], known)
    assert {name for each in expressions for name in re.findall(r"process_\w+", each)} == {
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
    }
    variables = {each["name"] for each in board["templating"]["list"]}
    assert {name for each in expressions for name in re.findall(r"\$([a-z]+)", each)} <= variables
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            grouped = {label for found in re.findall(r"by \((.*?)\)", target["expr"]) for label in found.split(", ")}
            assert shown <= grouped | {"pod"}
