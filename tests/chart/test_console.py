"""The console in the chart: nothing of it unless it is enabled, and then what it needs and no more."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from helm import helm
from rendered import CHART, CONSOLE, NAMESPACE, RELEASE, Object, environment, found, merged, render

INGRESS: dict[str, Any] = {"ingress": {"enabled": True, "host": "realmate.example", "tlsSecret": "certificate"}}
GATEWAY: dict[str, Any] = {
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["realmate.example"]}
}
PATHS = {("/", "exact"), *((path, "prefix") for path in ("/console", "/docs", "/admin"))}
KINDS = {"Exact": "exact", "Prefix": "prefix", "PathPrefix": "prefix"}


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    return render(CONSOLE)


def test_nothing_of_it_is_there_unless_it_is_enabled() -> None:
    assert f"{RELEASE}-console" not in json.dumps(render(INGRESS | {"readers": CONSOLE["readers"]}))


def test_it_brings_what_another_service_brings(objects: list[Object]) -> None:
    def kinds(name: str) -> set[str]:
        return {each["kind"] for each in objects if each["metadata"]["name"] == f"{RELEASE}-{name}"}

    assert kinds("console") == kinds("query")
    assert found(objects, "Deployment", "console")["spec"]["replicas"] == 2


def test_it_sends_replays_to_webhook_and_reads_both_files(objects: list[Object]) -> None:
    pod = found(objects, "Deployment", "console")["spec"]["template"]["spec"]
    told = environment(pod)
    service = found(objects, "Service", "webhook")
    [port] = service["spec"]["ports"]
    assert told["WEBHOOK_URL"] == f"http://{service['metadata']['name']}:{port['port']}"
    mounted = {each["name"]: each["mountPath"] for each in pod["containers"][0]["volumeMounts"]}
    assert mounted.keys() == {"tmp", "sources", "readers"} == {volume["name"] for volume in pod["volumes"]}
    assert told["SOURCES_FILE"].startswith(mounted["sources"] + "/")
    assert told["TOKENS_FILE"].startswith(mounted["readers"] + "/")
    for name in ("webhook", "conversations", "query"):
        assert "WEBHOOK_URL" not in environment(found(objects, "Deployment", name)["spec"]["template"]["spec"])


def components(peers: list[Object]) -> set[str]:
    return {
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"] for peer in peers if "podSelector" in peer
    }


def peers_by_port(policy: Object, end: str) -> dict[Any, set[str]]:
    """The components that each port is open for; none of them: it is open for everybody."""
    side = {"ingress": "from", "egress": "to"}[end]
    return {rule["ports"][0]["port"]: components(rule.get(side, [])) for rule in policy["spec"][end]}


def test_it_reaches_the_database_and_webhook_and_nothing_else(objects: list[Object]) -> None:
    policy = found(objects, "NetworkPolicy", "console")
    assert peers_by_port(policy, "egress") == {53: set(), 5432: {"postgres"}, "http": {"webhook"}}
    assert peers_by_port(policy, "ingress") == {"http": set(), "admin": set(), 9000: {"operator"}}
    assert "console" in peers_by_port(found(objects, "NetworkPolicy", "postgres"), "ingress")[5432]
    assert "console" not in peers_by_port(found(objects, "NetworkPolicy", "redis"), "ingress")[6379]


def test_where_clients_are_named_it_is_one_of_webhook_s_and_has_no_others_itself() -> None:
    client = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}
    policies = render(CONSOLE | {"networkPolicy": {"clients": [client]}})
    assert peers_by_port(found(policies, "NetworkPolicy", "webhook"), "ingress")["http"] == {"test", "admin", "console"}
    assert peers_by_port(found(policies, "NetworkPolicy", "query"), "ingress")["http"] == {"test", "admin"}
    [rule] = [
        rule
        for rule in found(policies, "NetworkPolicy", "console")["spec"]["ingress"]
        if rule["ports"] == [{"port": "http"}]
    ]
    assert rule["from"] == [client]


def led(objects: list[Object], service: str) -> Iterator[tuple[str, str]]:
    """The paths that the Ingress or the HTTPRoute leads to a service of ours."""
    for each in objects:
        if each["kind"] == "Ingress":
            [rule] = each["spec"]["rules"]
            for path in rule["http"]["paths"]:
                if path["backend"]["service"] == {"name": f"{RELEASE}-{service}", "port": {"name": "http"}}:
                    yield path["path"], KINDS[path["pathType"]]
        elif each["kind"] == "HTTPRoute":
            for rule in each["spec"]["rules"]:
                if rule["backendRefs"] == [{"name": f"{RELEASE}-{service}", "port": 8000}]:
                    [match] = rule["matches"]
                    yield match["path"]["value"], KINDS[match["path"]["type"]]


@pytest.mark.parametrize("way_in", [INGRESS, GATEWAY], ids=["ingress", "httpRoute"])
def test_the_way_in_leads_to_it_only_where_it_is_enabled(way_in: dict[str, Any]) -> None:
    with_it, without = render(CONSOLE | way_in), render(way_in)
    assert set(led(with_it, "console")) == PATHS
    assert not set(led(without, "console"))
    for service in ("webhook", "query"):
        assert set(led(with_it, service)) == set(led(without, service))


def test_its_metrics_are_scraped_as_those_of_the_others() -> None:
    monitor = found(render(merged(CONSOLE, {"metrics": {"podMonitor": {"enabled": True}}})), "PodMonitor", "")
    [expression] = monitor["spec"]["selector"]["matchExpressions"]
    assert "console" in expression["values"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (CONSOLE | INGRESS, "https://realmate.example/console/"),
        (CONSOLE | GATEWAY, "https://realmate.example/console/"),
        (CONSOLE | {"ingress": {"enabled": True}}, "http://ADDRESS-OF-THE-INGRESS/console/"),
        (CONSOLE, f"port-forward service/{RELEASE}-console 8002:8000"),
        (INGRESS, None),
    ],
)
def test_the_notes_say_where_it_is(values: dict[str, Any], said: str | None) -> None:
    command = [helm(), "install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--dry-run=client", "--values", "-"]
    done = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=True)
    notes = done.stdout.partition("\nNOTES:\n")[2]
    assert notes
    assert (said or "") in notes
    assert ("console" in notes) is (said is not None)
