"""The service `deliveries` in the chart: nothing of it unless it is enabled, and then what it needs and no more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prometheus import rules_of
from rendered import DELIVERIES, RELEASE, Object, environment, found, merged, render


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return render(DELIVERIES)


def test_nothing_of_it_is_there_unless_it_is_enabled() -> None:
    assert f"{RELEASE}-deliveries" not in json.dumps(render())


def test_it_brings_what_another_service_brings_but_no_way_in(objects: list[Object]) -> None:
    def kinds(name: str) -> set[str]:
        return {each["kind"] for each in objects if each["metadata"]["name"] == f"{RELEASE}-{name}"}

    assert kinds("deliveries") == kinds("query") - {"Service"}
    assert found(objects, "Deployment", "deliveries")["spec"]["replicas"] == 2


def test_it_reads_the_file_of_sources_and_no_transport_s_keys(objects: list[Object]) -> None:
    pod = found(objects, "Deployment", "deliveries")["spec"]["template"]["spec"]
    assert {volume["name"] for volume in pod["volumes"]} == {"tmp", "sources"}
    assert environment(pod)["SOURCES_FILE"] == "/etc/realmate/sources/sources.json"
    guarded = render(merged(DELIVERIES, {"readers": {"existingSecret": "readers"}}))
    pod = found(guarded, "Deployment", "deliveries")["spec"]["template"]["spec"]
    assert environment(pod)["TOKENS_FILE"] == "/etc/realmate/readers/tokens.toml"


def test_it_reaches_the_database_and_endpoints_and_nothing_else() -> None:
    objects = render(merged(DELIVERIES, {"networkPolicy": {"endpointPorts": [443, 8443]}}))
    policy = found(objects, "NetworkPolicy", "deliveries")["spec"]
    database = {"matchLabels": {"app.kubernetes.io/instance": RELEASE, "app.kubernetes.io/component": "postgres"}}
    dns, *others = policy["egress"]
    assert {port["port"] for port in dns["ports"]} == {53}
    assert others == [
        {"ports": [{"port": 5432}], "to": [{"podSelector": database}]},
        {"ports": [{"port": 443}, {"port": 8443}]},
    ]
    assert {port["port"] for rule in policy["ingress"] for port in rule["ports"]} == {"admin", 9000}
    for other in ("webhook", "conversations", "query"):
        ports = [rule["ports"] for rule in found(objects, "NetworkPolicy", other)["spec"]["egress"]]
        assert [{"port": 443}, {"port": 8443}] not in ports


def test_its_metrics_are_scraped_as_those_of_the_others() -> None:
    monitor = found(render(merged(DELIVERIES, {"metrics": {"podMonitor": {"enabled": True}}})), "PodMonitor", "")
    [expression] = monitor["spec"]["selector"]["matchExpressions"]
    assert "deliveries" in expression["values"]


@pytest.mark.parametrize("values", [DELIVERIES, {}], ids=["enabled", "not enabled"])
def test_its_absence_is_an_alert_where_it_is_enabled(values: dict[str, Any]) -> None:
    rules = rules_of(values)["groups"][0]["rules"]
    [alert] = [each for each in rules if each["alert"] == "RealmateServiceAbsent"]
    assert ("-deliveries-" in alert["expr"]) is bool(values)
