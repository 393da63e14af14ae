"""The chart, as helm renders it: valid for Kubernetes, hardened, and right about what belongs together."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from helm import helm
from realmate.kube_operator.reconcile import installation_of
from realmate.runtime.postgres import QUIET
from realmate.runtime.settings import Settings
from realmate.transport.amqp.connections import QUEUE
from realmate.transport.redis.connections import COMMANDS, GROUP
from rendered import (
    CHART,
    CONSOLE,
    NAMESPACE,
    RELEASE,
    WHOLE,
    Object,
    RenderError,
    environment,
    found,
    merged,
    pods,
    render,
)

ROOT = Path(__file__).parents[2]
KUBERNETES = ("1.29.0", "1.34.0", kubernetes_validate.latest_version())
OURS = ("webhook", "conversations", "query")
EVERY = (*OURS, "console", "deliveries")
EXTERNAL = {store: {"external": {"existingSecret": f"my-{store}"}} for store in ("postgres", "redis", "rabbitmq")}
ALL_ON: dict[str, Any] = {
    "ingress": {"enabled": True, "host": "realmate.example", "tlsSecret": "certificate", "className": "nginx"},
    "metrics": {name: {"enabled": True} for name in ("podMonitor", "prometheusRule", "dashboard")},
    "test": {"source": "shop", "tokenSecret": "reader"},
    "operator": {
        "mode": "cluster",
        "publicUrl": "https://realmate.example",
        "secretNames": ["keys"],
        "metricsToken": {"existingSecret": "admin"},
        "settings": {"LOG_LEVEL": "DEBUG"},
        "nodeSelector": {"e": "f"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "high",
    },
    "crds": {"keep": False},
    "readers": {"existingSecret": "readers"},
    "networkPolicy": {"responders": True, "clients": [{"namespaceSelector": {}}], "scrapers": [{"podSelector": {}}]},
    "imagePullSecrets": ["registry"],
    **{
        name: {
            "autoscaling": {"enabled": True},
            "settings": {"LOG_LEVEL": "DEBUG"},
            "podAnnotations": {"a": "b"},
            "podLabels": {"c": "d"},
            "nodeSelector": {"e": "f"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"podAntiAffinity": {}},
            "priorityClassName": "high",
            "extraEnv": [{"name": "SHOP_SECRET", "value": "x"}],
        }
        for name in OURS
    },
    "extraObjects": [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}},
        'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: "{{ .Release.Name }}-two"}',
    ],
}
OPERATED_ELSEWHERE: dict[str, Any] = {
    "operator": {"mode": "elsewhere", "serviceAccount": {"name": "central-operator", "namespace": "central"}},
    "crds": {"enabled": False},
}
FROM_A_FILE: dict[str, Any] = {"operator": {"mode": "none"}, "sources": {"content": "[sources.shop]\n"}}
MATRIX: dict[str, dict[str, Any]] = {
    "as it is": {},
    "an operator elsewhere": OPERATED_ELSEWHERE,
    "no operator": FROM_A_FILE | {"crds": {"enabled": False}},
    "amqp": {"transport": {"kind": "amqp"}},
    "external stores": EXTERNAL,
    "external stores, amqp, hook": EXTERNAL | {"transport": {"kind": "amqp"}, "migration": {"mode": "hook"}},
    "all on": ALL_ON,
    "all on, with the console and deliveries": merged(ALL_ON, WHOLE),
    "for development": {"development": True, "networkPolicy": {"enabled": False}},
    "scaled by KEDA": {"keda": {"enabled": True}, "metrics": {"serviceMonitor": {"enabled": True}}},
    "scaled by KEDA, amqp": {"keda": {"enabled": True}, "transport": {"kind": "amqp"}},
    "CloudNativePG": {"postgres": {"cloudnativepg": {"enabled": True, "spec": {"backup": {"retentionPolicy": "30d"}}}}},
    "by the Gateway API": CONSOLE
    | {"httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["realmate.example"]}},
    "by digest": {"image": {"digest": "sha256:" + "0" * 64}},
    "kept stores": {
        "postgres": {"storage": {"keep": False, "className": "fast"}},
        "rabbitmq": {"storage": {"keep": True}},
    },
}
NOT_OF_KUBERNETES = {
    *("HTTPRoute", "PodMonitor", "ServiceMonitor", "PrometheusRule"),
    *("ScaledObject", "TriggerAuthentication", "Cluster"),
}


PLAIN = (
    *("repository", "image", "pullPolicy", "enabled", r"\w+Replicas", "replicas", "resources", r"pod\w+", "labels"),
    *("nodeSelector", "tolerations", "annotations", "priorityClassName", "hostnames", "size", "className", "keep"),
    *("key", "port", "maxmemory", "interval", "create", "type"),
)
"""Names that need no words."""


@pytest.fixture(scope="module", params=MATRIX)
def objects(request: pytest.FixtureRequest) -> list[Object]:
    return render(MATRIX[request.param])


@pytest.fixture(scope="module")
def plain() -> list[Object]:
    return render()


@pytest.fixture(scope="module")
def whole() -> list[Object]:
    """An installation with every service there is."""
    return render(WHOLE)


def test_every_object_is_valid_for_every_kubernetes_it_is_for(objects: list[Object]) -> None:
    for each in objects:
        if each["kind"] not in NOT_OF_KUBERNETES:
            for version in KUBERNETES:
                kubernetes_validate.validate(each, version, strict=True)


def test_names_are_unique_and_begin_with_the_release_s(objects: list[Object]) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in objects]
    assert len(names) == len(set(names))
    of_no_namespace = {
        "CustomResourceDefinition": "realmate.dev",
        "ClusterRole": RELEASE,
        "ClusterRoleBinding": RELEASE,
    }
    for kind, name in names:
        assert name.startswith(RELEASE) or name == "one" or of_no_namespace[kind] in name


def test_no_pod_is_root_writes_to_its_root_or_knows_the_api_server(objects: list[Object]) -> None:
    """Pod Security "restricted", which the namespace may enforce."""
    for name, pod in pods(objects).items():
        is_operator = "operator" in name
        assert pod["automountServiceAccountToken"] is is_operator, name
        assert (pod["serviceAccountName"] == f"{RELEASE}-operator") is is_operator, name
        assert pod["enableServiceLinks"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert context["readOnlyRootFilesystem"] is True or name.startswith("Deployment"), name
            assert {"requests", "limits"} <= container["resources"].keys(), name
            assert ":" in container["image"]
            assert not container["image"].endswith(":latest")


def test_only_for_development_a_root_can_be_written_to(whole: list[Object]) -> None:
    for objects, read_only in ((whole, True), (render(WHOLE | MATRIX["for development"]), False)):
        for name in (*EVERY, "operator"):
            (container,) = found(objects, "Deployment", name)["spec"]["template"]["spec"]["containers"]
            assert container["securityContext"]["readOnlyRootFilesystem"] is read_only


def test_every_pod_is_under_the_default_deny_and_under_a_policy_of_its_own(whole: list[Object]) -> None:
    policies = [each for each in whole if each["kind"] == "NetworkPolicy"]
    for each in whole:
        template = each if each["kind"] == "Pod" else each.get("spec", {}).get("template")
        if template is None:
            continue
        labels = template["metadata"]["labels"].items()
        matching = [
            p["metadata"]["name"] for p in policies if p["spec"]["podSelector"]["matchLabels"].items() <= labels
        ]
        assert f"{RELEASE}-default-deny" in matching
        assert len(matching) == 2, matching


def test_services_and_budgets_find_their_pods(objects: list[Object]) -> None:
    labels = [
        (each["spec"]["template"]["metadata"]["labels"], each["spec"]["template"]["spec"])
        for each in objects
        if each["kind"] in {"Deployment", "StatefulSet"}
    ]
    for each in objects:
        if each["kind"] == "Service" and not each["metadata"]["name"].endswith("-metrics"):
            wanted, port = each["spec"]["selector"], each["spec"]["ports"][0]["targetPort"]
            [pod] = [pod for known, pod in labels if wanted.items() <= known.items()]
            assert port in [named["name"] for container in pod["containers"] for named in container["ports"]]
        if each["kind"] == "PodDisruptionBudget":
            wanted = each["spec"]["selector"]["matchLabels"]
            assert len([known for known, _ in labels if wanted.items() <= known.items()]) == 1


def test_a_selector_does_not_depend_on_a_version(objects: list[Object]) -> None:
    """It cannot be changed: an upgrade would fail."""
    for each in objects:
        if each["kind"] in {"Deployment", "StatefulSet"}:
            assert each["spec"]["selector"]["matchLabels"].keys() == {
                "app.kubernetes.io/instance",
                "app.kubernetes.io/component",
            }


@pytest.mark.parametrize("name", EVERY)
def test_what_our_pods_are_told_is_what_our_code_reads(whole: list[Object], name: str) -> None:
    variables = environment(found(whole, "Deployment", name)["spec"]["template"]["spec"])
    assert {variable.lower() for variable in variables} <= Settings.model_fields.keys()
    needs = {
        "webhook": {"TRANSPORT_URL", "REDIS_URL"},
        "conversations": {"TRANSPORT_URL", "DATABASE_URL"},
        "query": {"DATABASE_URL"},
        "console": {"DATABASE_URL"},
        "deliveries": {"DATABASE_URL"},
    }
    assert {variable for variable, value in variables.items() if isinstance(value, dict)} == needs[name]


@pytest.mark.parametrize("name", EVERY)
def test_a_pod_is_given_longer_to_stop_than_it_takes(name: str) -> None:
    for settings in ({}, {"DRAIN_DELAY_S": 12.5, "DRAIN_TIMEOUT_S": "30"}):
        pod = found(render(WHOLE | {"settings": settings}), "Deployment", name)["spec"]["template"]["spec"]
        told = environment(pod)
        assert pod["terminationGracePeriodSeconds"] > float(told["DRAIN_DELAY_S"]) + float(told["DRAIN_TIMEOUT_S"]) + 3
        assert not settings or told["DRAIN_DELAY_S"] == "12.5"


def test_a_rolling_update_takes_no_pod_before_a_new_one_is_ready(whole: list[Object]) -> None:
    for name in EVERY:
        strategy = found(whole, "Deployment", name)["spec"]["strategy"]
        assert strategy["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_what_is_scaled_starts_with_the_least_and_never_with_one() -> None:
    """Without a number of replicas, Kubernetes takes one. A live Deployment keeps its own number (tests/e2e)."""
    scaling = {"autoscaling": {"enabled": True, "minReplicas": 4, "maxReplicas": 9}}
    objects = render(
        {"webhook": scaling, "conversations": {"autoscaling": {"minReplicas": 3}}, "keda": {"enabled": True}}
    )
    replicas = {name: found(objects, "Deployment", name)["spec"]["replicas"] for name in OURS}
    assert replicas == {"webhook": 4, "conversations": 3, "query": 2}


@pytest.mark.parametrize("name", [*EVERY, "operator", "migration", "postgres", "rabbitmq"])
def test_each_pod_can_be_told_where_to_run(name: str) -> None:
    where = {
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "high",
    }
    values = merged(WHOLE, {"transport": {"kind": "amqp"}})
    specifications = pods(render(merged(values, {name: where})))
    [pod] = [
        pod
        for title, pod in specifications.items()
        if name.replace("migration", "migrate") in title and "release" not in title
    ]
    assert {key: pod.get(key) for key in where} == where
    everywhere = pods(render(values))
    assert not any(pod.keys() & where.keys() for pod in everywhere.values())


def test_ports_and_peers_of_a_cluster_s_own_are_let_through() -> None:
    cluster = {
        "dns": {"ports": [5353], "peers": [{"namespaceSelector": {"matchLabels": {"dns": "here"}}}]},
        "apiServer": {"ports": [16443], "peers": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]},
        "responders": True,
        "responderPorts": [8443],
    }
    objects = render({"networkPolicy": cluster})
    policies = {each["metadata"]["name"]: each["spec"] for each in objects if each["kind"] == "NetworkPolicy"}
    dns, *_ = policies[f"{RELEASE}-conversations"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {5353}
    assert dns["to"] == cluster["dns"]["peers"]  # type: ignore[index]
    assert policies[f"{RELEASE}-conversations"]["egress"][-1] == {"ports": [{"port": 8443}]}
    api_server = {"ports": [{"port": 16443}], "to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}
    assert api_server in policies[f"{RELEASE}-operator"]["egress"]
    assert api_server in policies[f"{RELEASE}-operator-release"]["egress"]


def test_the_operator_may_do_no_more_than_it_does(plain: list[Object]) -> None:
    """A list of Secrets would be all their contents."""
    rights: dict[tuple[str, str], set[str]] = {}
    for rule in found(plain, "Role", "operator")["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                rights.setdefault((group, resource), set()).update(rule["verbs"])
    del rights["", "secrets"]  # below
    assert rights == {
        ("realmate.dev", "webhooksources"): {"get", "list", "watch", "patch"},
        ("realmate.dev", "webhookendpoints"): {"get", "list", "watch"},
        ("realmate.dev", "eventreplays"): {"get", "list", "watch"},
        ("realmate.dev", "webhooksources/status"): {"patch"},
        ("realmate.dev", "webhookendpoints/status"): {"patch"},
        ("realmate.dev", "eventreplays/status"): {"patch"},
        ("", "events"): {"create"},
        ("", "pods"): {"list", "patch"},
        ("", "podtemplates"): {"list"},
        ("batch", "jobs"): {"get", "create"},
        ("apps", "deployments"): {"get", "patch"},
    }
    for objects, names in ((plain, None), (render(ALL_ON), {"keys", f"{RELEASE}-webhooksources"})):
        role = found(objects, "Role", "operator")
        of_secrets = [rule for rule in role["rules"] if "secrets" in rule["resources"]]
        assert {verb for rule in of_secrets for verb in rule["verbs"]} == {"get", "patch", "create"}
        named = [set(rule["resourceNames"]) for rule in of_secrets if "resourceNames" in rule]
        assert named == ([names] if names else [])


def test_over_the_whole_cluster_the_operator_may_only_watch_and_tell() -> None:
    """No Secret, no Job, no pod: these it may touch where a release is, by a Role in its namespace."""
    objects = render(ALL_ON)
    [role] = [each for each in objects if each["kind"] == "ClusterRole"]
    rights = {
        (group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert {(group, resource) for group, resource, _ in rights if group != "realmate.dev"} == {("", "podtemplates")}
    assert {verb for _, resource, verb in rights if resource == "podtemplates"} == {"list"}
    [binding] = [each for each in objects if each["kind"] == "ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    bound = found(objects, "RoleBinding", "operator")
    assert bound["metadata"]["namespace"] == NAMESPACE
    assert bound["subjects"] == [{"kind": "ServiceAccount", "name": f"{RELEASE}-operator", "namespace": NAMESPACE}]


def test_a_release_lets_an_operator_of_elsewhere_into_its_own_namespace() -> None:
    objects = render(OPERATED_ELSEWHERE)
    binding = found(objects, "RoleBinding", "operator")
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "central-operator", "namespace": "central"}]
    role = found(objects, "Role", binding["roleRef"]["name"].removeprefix(f"{RELEASE}-"))
    assert {each["metadata"]["namespace"] for each in (role, binding)} == {NAMESPACE}
    resources = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert resources == {"secrets", "events", "pods", "jobs"}


def test_one_operator_is_enough_for_several_releases() -> None:
    objects = render(OPERATED_ELSEWHERE)
    kinds = {each["kind"] for each in objects}
    assert {"PodTemplate", "Role", "RoleBinding"} <= kinds
    assert not {"ClusterRole", "CustomResourceDefinition"} & kinds
    assert not any(each["metadata"]["name"] == f"{RELEASE}-operator" for each in objects if "Account" in each["kind"])
    [peer] = [
        peer
        for rule in found(objects, "NetworkPolicy", "webhook")["spec"]["ingress"]
        for peer in rule.get("from", [])
        if peer["podSelector"]["matchLabels"].get("app.kubernetes.io/component") == "operator"
    ]
    assert peer["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "central"}}


def test_the_operator_knows_the_installation_by_its_pod_template() -> None:
    said = found(render(ALL_ON), "PodTemplate", "admin")["metadata"]
    assert said["labels"]["realmate.dev/installation"] == "true"
    installation = installation_of(found(render(ALL_ON), "PodTemplate", "admin"))
    assert installation.secret == f"{RELEASE}-webhooksources"
    assert installation.public_url == "https://realmate.example"
    assert installation.webhook_url == f"http://{RELEASE}-webhook.{NAMESPACE}.svc:8000"
    assert installation.open_default is None
    for wanted in (True, False):
        template = found(render({"sources": {"open": wanted}}), "PodTemplate", "admin")
        assert installation_of(template).open_default is wanted


def test_what_carried_commands_before_is_drained_and_stays_for_so_long() -> None:
    objects = render({"transport": {"kind": "redis", "drain": "amqp"}})
    conversations, webhook = (
        environment(found(objects, "Deployment", name)["spec"]["template"]["spec"])
        for name in ("conversations", "webhook")
    )
    told = [conversations[name]["secretKeyRef"] for name in ("TRANSPORT_URL", "DRAIN_TRANSPORT_URL")]
    assert [each["name"] for each in told] == [f"{RELEASE}-redis", f"{RELEASE}-rabbitmq"]
    assert {each["key"] for each in told} == {"CONVERSATIONS_URL"}
    assert "DRAIN_TRANSPORT_URL" not in webhook
    assert found(objects, "StatefulSet", "rabbitmq")
    for policy, end in (("rabbitmq", "ingress"), ("conversations", "egress")):
        assert "5672" in json.dumps(found(objects, "NetworkPolicy", policy)["spec"][end])
    assert "5672" not in json.dumps(found(objects, "NetworkPolicy", "webhook")["spec"]["egress"])


@pytest.mark.parametrize("transport", ["redis", "amqp"])
def test_keda_looks_at_what_waits_for_conversations(transport: str) -> None:
    objects = render({"keda": {"enabled": True}, "transport": {"kind": transport}})
    scaled = found(objects, "ScaledObject", "conversations")["spec"]
    deployment = found(objects, "Deployment", scaled["scaleTargetRef"]["name"].removeprefix(f"{RELEASE}-"))
    assert deployment["spec"]["replicas"] == scaled["minReplicaCount"]
    [trigger] = scaled["triggers"]
    secret, *others = found(objects, "TriggerAuthentication", "conversations")["spec"]["secretTargetRef"]
    user = others[0] if others else {}
    broker = found(objects, "Secret", secret["name"].removeprefix(f"{RELEASE}-"))
    if transport == "amqp":
        assert trigger["metadata"]["queueName"] == QUEUE
        assert broker["stringData"][secret["key"]].startswith("amqp://")
    else:
        wanted = (trigger["metadata"]["stream"], trigger["metadata"]["consumerGroup"])
        assert wanted == (COMMANDS, GROUP)
        assert secret == {"name": f"{RELEASE}-redis", "parameter": "password", "key": "scaler-password"}
        assert broker["stringData"][user["key"]] == "scaler"
        assert trigger["metadata"]["address"] == f"{RELEASE}-redis.{NAMESPACE}.svc:6379"
    peers = found(objects, "NetworkPolicy", "rabbitmq" if transport == "amqp" else "redis")["spec"]["ingress"][0][
        "from"
    ]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}} in peers


def test_no_postgres_of_ours_logs_what_people_write() -> None:
    [container] = found(render(), "StatefulSet", "postgres")["spec"]["template"]["spec"]["containers"]
    wanted = {f"{name}={value}" for name, value in QUIET.items()}
    assert wanted <= set(container["args"])
    cluster = found(render(MATRIX["CloudNativePG"]), "Cluster", "postgres")
    # CloudNativePG would load auto_explain for its setting; without it there is nothing to turn off.
    expected = {name: value for name, value in QUIET.items() if not name.startswith("auto_explain")}
    assert expected.items() <= cluster["spec"]["postgresql"]["parameters"].items()


def test_a_database_of_cloudnativepg_is_reached_by_its_own_secret() -> None:
    objects = render(MATRIX["CloudNativePG"])
    cluster = found(objects, "Cluster", "postgres")
    assert cluster["spec"]["backup"] == {"retentionPolicy": "30d"}
    assert cluster["spec"]["bootstrap"] == {"initdb": {"database": "realmate", "owner": "realmate"}}
    told = environment(found(objects, "Deployment", "query")["spec"]["template"]["spec"])
    assert told["DATABASE_URL"] == {"secretKeyRef": {"name": f"{RELEASE}-postgres-app", "key": "uri"}}
    assert [each["metadata"]["name"] for each in objects if each["kind"] == "StatefulSet"] == [f"{RELEASE}-redis"]
    [peer] = [
        rule["to"]
        for rule in found(objects, "NetworkPolicy", "query")["spec"]["egress"]
        if {"port": 5432} in rule["ports"]
    ]
    assert peer == [{"podSelector": {"matchLabels": {"cnpg.io/cluster": f"{RELEASE}-postgres"}}}]


def test_its_own_test_can_be_a_source_s_and_a_reader_s() -> None:
    pod = found(render(ALL_ON), "Pod", "test")["spec"]
    assert pod["containers"][0]["args"][-2:] == ["--source", "shop"]
    told = environment(pod)
    assert told["SOURCES_FILE"] == "/etc/realmate/sources/sources.json"
    assert told["REALMATE_TOKEN"] == {"secretKeyRef": {"name": "reader", "key": "token"}}


def test_metrics_are_led_to_by_a_service_of_their_own() -> None:
    objects = render(MATRIX["scaled by KEDA"])
    service = found(objects, "Service", "metrics")
    assert service["spec"]["clusterIP"] == "None"
    monitor = found(objects, "ServiceMonitor", "")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    named = {
        name
        for name, pod in pods(objects).items()
        for container in pod["containers"]
        for port in container.get("ports", [])
        if port["name"] == "admin"
    }
    assert named == {f"Deployment {RELEASE}-{name}" for name in (*OURS, "operator")}


def test_definitions_outlive_the_release_unless_told() -> None:
    for keep in (True, False):
        for each in render({"crds": {"keep": keep}}):
            if each["kind"] == "CustomResourceDefinition":
                assert ("helm.sh/resource-policy" in each["metadata"].get("annotations", {})) is keep


def test_query_sees_no_secret_of_a_source() -> None:
    objects = render(ALL_ON)
    for name in OURS:
        pod = found(objects, "Deployment", name)["spec"]["template"]["spec"]
        mounted = {volume["name"] for volume in pod["volumes"]}
        assert mounted == {"tmp", "readers"} | ({"sources", "transport"} if name != "query" else set())
        assert "TOKENS_FILE" in environment(pod)


def with_content(objects: list[Object]) -> list[Object]:
    """The Secrets of stores that Helm fills itself."""
    return [
        each
        for each in objects
        if each["kind"] == "Secret" and {"data", "stringData"} & each.keys() and "-keys" not in each["metadata"]["name"]
    ]


def test_external_stores_bring_none_of_ours_and_no_password() -> None:
    objects = render(MATRIX["external stores, amqp, hook"])
    assert not [each for each in objects if each["kind"] == "StatefulSet"]
    assert not with_content(objects)
    told = environment(found(objects, "Deployment", "conversations")["spec"]["template"]["spec"])
    assert told["DATABASE_URL"] == {"secretKeyRef": {"name": "my-postgres", "key": "DATABASE_URL"}}
    assert told["TRANSPORT_URL"] == {"secretKeyRef": {"name": "my-rabbitmq", "key": "AMQP_URL"}}


def test_our_own_stores_take_a_secret_that_is_there() -> None:
    stores = ("postgres", "redis", "rabbitmq")
    objects = render({"transport": {"kind": "amqp"}} | {store: {"existingSecret": f"my-{store}"} for store in stores})
    assert not with_content(objects)
    for store in stores:
        told = environment(found(objects, "StatefulSet", store)["spec"]["template"]["spec"])
        assert {"secretKeyRef": {"name": f"my-{store}", "key": "password"}} in told.values()
    told = environment(found(objects, "Deployment", "webhook")["spec"]["template"]["spec"])
    assert told["TRANSPORT_URL"] == {"secretKeyRef": {"name": "my-rabbitmq", "key": "AMQP_URL"}}


def test_each_password_is_in_its_url_and_no_two_are_the_same() -> None:
    objects = render({"transport": {"kind": "amqp"}})
    passwords = set()
    for store in ("postgres", "redis", "rabbitmq"):
        data = found(objects, "Secret", store)["stringData"]
        own = {key: value for key, value in data.items() if key == "password" or key.endswith("-password")}
        urls = [value for key, value in data.items() if key.endswith("_URL")]
        assert len(urls) == 3
        for url in urls:
            assert re.search(f":({'|'.join(own.values())})@{RELEASE}-{store}:", url)
        passwords |= {*own.values()}
    assert len(passwords) == 10
    assert all(len(each) == 40 for each in passwords)


def test_whatever_runs_once_waits_for_the_servers_it_needs() -> None:
    """The first connections of a new pod may be rejected, until its address has reached all NetworkPolicies."""
    specifications = pods(render({"operator": {"mode": "namespace"}}))
    once = {name: pod for name, pod in specifications.items() if pod.get("restartPolicy") in {"Never", "OnFailure"}}
    assert len(once) == 4  # the migration, the release of finalizers, the admin's template, the test
    for name, pod in once.items():
        assert environment(pod).get("REALMATE_WAIT_S") == "30" or "--wait" in pod["containers"][0]["args"], name


def test_a_migration_that_differs_is_another_job() -> None:
    def name(values: dict[str, Any]) -> str:
        names = (each["metadata"]["name"] for each in render(values) if each["kind"] == "Job")
        (job,) = (each for each in names if "migrate" in each)
        return str(job)

    assert name({}) == name({"webhook": {"replicas": 5}})
    assert name({}) != name({"image": {"tag": "0.2.0"}})
    assert name({}) != name({"migration": {"resources": {"limits": {"memory": "1Gi"}}}})


def test_the_way_in_shows_the_api_and_nothing_else() -> None:
    objects = render(ALL_ON)
    [rule] = found(objects, "Ingress", "")["spec"]["rules"]
    paths = {each["path"]: each["backend"]["service"]["name"] for each in rule["http"]["paths"]}
    query = f"{RELEASE}-query"
    assert paths == {
        "/webhook": f"{RELEASE}-webhook",
        "/conversations": query,
        "/changes": query,
        "/openapi.json": query,
    }
    for each in objects:
        if each["kind"] == "Service":
            assert "admin" not in [port["name"] for port in each["spec"]["ports"]]


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"webhook": {"replica": 3}}, "additional properties 'replica' not allowed"),
        ({"transport": {"kind": "kafka"}}, "value must be one of 'redis', 'amqp'"),
        ({"webhook": {"replicas": 0}}, "minimum: got 0, want 1"),
        ({"postgres": {"storage": {"size": ""}}}, "minLength"),
        ({"migration": {"mode": "hook"}}, "hook needs an external Postgres"),
        ({"sources": {"content": "x", "existingSecret": "y"}}, "choose one"),
        ({"sources": {"content": "x"}}, "set operator.mode=none"),
        ({"keda": {"enabled": True}, "conversations": {"autoscaling": {"enabled": True}}}, "choose one"),
        ({"keda": {"enabled": True}} | EXTERNAL, "keda.redisAddress"),
        ({"metrics": {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}}, "counted twice"),
        ({"transport": {"kind": "amqp", "drain": "amqp"}}, "another one than transport.kind"),
        ({"postgres": {"cloudnativepg": {"enabled": True}, "existingSecret": "x"}}, "brings its own Secret"),
        ({"httpRoute": {"enabled": True}}, "of which Gateway"),
        ({"console": {"enabled": True}}, "console.enabled needs readers.existingSecret"),
        ({"console": {"settings": {"WEBHOOK_URL": "http://a"}}}, "additional properties 'WEBHOOK_URL' not allowed"),
        ({"deliveries": {"settings": {"SOURCES_FILE": "/a"}}}, "additional properties 'SOURCES_FILE' not allowed"),
        ({"networkPolicy": {"endpointPorts": ["https"]}}, "got string, want integer"),
        ({"operator": {"mode": "elsewhere"}}, "say which operator may work here"),
        ({"settings": {"GROUP_WINDOWS_S": 5}}, "additional properties 'GROUP_WINDOWS_S' not allowed"),
        ({"query": {"settings": {"PORT": 80}}}, "additional properties 'PORT' not allowed"),
        ({"operator": {"settings": {"GROUP_WINDOW_S": 5}}}, "additional properties 'GROUP_WINDOW_S' not allowed"),
        (
            {"query": {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 4}}},
            "more than maxReplicas (4)",
        ),
        ({"keda": {"enabled": True}, "conversations": {"autoscaling": {"minReplicas": 11}}}, "more than maxReplicas"),
        ({"webhook": {"autoscaling": {"enabled": True}, "resources": {"requests": {"cpu": None}}}}, "requests.cpu"),
        ({"fullnameOverride": "Realmate_X"}, "does not match pattern"),
        ({"redis": {"maxmemory": "lots"}}, "does not match pattern"),
        ({"image": {"digest": "latest"}}, "does not match pattern"),
        ({"networkPolicy": {"clients": [{"podSelektor": {}}]}}, "podSelektor"),
        ({"networkPolicy": {"scrapers": [{"podSelector": {"matchlabels": {}}}]}}, "matchlabels"),
        ({"networkPolicy": {"dns": {"ports": [0]}}}, "minimum: got 0, want 1"),
        ({"query": {"resources": {"limit": {"memory": "1Gi"}}}}, "limit"),
        ({"migration": {"resources": {"limits": {"memory": ["1Gi"]}}}}, "memory"),
        ({"query": {"tolerations": [{"key": "a", "values": "b"}]}}, "values"),
        ({"webhook": {"affinity": {"podAffinities": {}}}}, "podAffinities"),
        ({"webhook": {"extraEnv": [{"nam": "A", "value": "b"}]}}, "nam"),
        ({"query": {"extraVolumes": [{"name": "ca", "configmap": {"name": "ca"}}]}}, "configmap"),
        ({"query": {"extraVolumeMounts": [{"name": "ca", "path": "/ca"}]}}, "path"),
        ({"podSecurityContext": {"runAsUsr": 1}}, "runAsUsr"),
        ({"postgres": {"securityContext": {"readOnlyRootFilesystem": "no"}}}, "readOnlyRootFilesystem"),
        ({"webhook": {"service": {"type": "ExternalName"}}}, "must be one of"),
        ({"metrics": {"prometheusRule": {"disabled": {"RealmateGone": True}}}}, "RealmateGone"),
        ({"metrics": {"prometheusRule": {"runbookUrl": "docs/runbooks"}}}, "does not match pattern"),
        ({"imageRegistry": " registry"}, "does not match pattern"),
        ({"migration": {"ttlSecondsAfterFinished": "a day"}}, "ttlSecondsAfterFinished"),
        (
            {"ingress": {"enabled": True}, "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]}},
            "choose one way in",
        ),
    ],
)
def test_what_is_wrong_is_rejected_with_a_reason(values: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RenderError, match=re.escape(complaint)):
        render(values)


def test_it_lints() -> None:
    done = subprocess.run([helm(), "lint", "--strict", str(CHART)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_is_generated_is_current(tmp_path: Path) -> None:
    files = [
        *(CHART / name for name in ("values.schema.json", "README.md")),
        *(ROOT / "docs" / name for name in ("sources.md", "endpoints.md", "openapi.json")),
    ]
    files += [CHART / "templates" / f"crd-{name}.yaml" for name in ("webhooksource", "webhookendpoint")]
    subprocess.run(
        [sys.executable, str(ROOT / "charts/generate.py"), "--output", str(tmp_path)], check=True, capture_output=True
    )
    for path in files:
        assert (tmp_path / path.name).read_text() == path.read_text(), f"{path.name}: run `make generate`"


def test_every_value_is_described_or_as_another() -> None:
    rows = re.findall(r"^\| `(\S+)` \| .* \| (.*) \|$", (CHART / "README.md").read_text(), re.MULTILINE)
    assert len(rows) > 80
    allowed = re.compile(rf"({'|'.join(PLAIN)})$")
    undescribed = [name for name, told in rows if not told.strip() and not allowed.search(name)]
    assert undescribed == []


def test_versions_are_the_project_s() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert project
    assert chart["appVersion"] == project[1]
    assert json.loads((CHART / "values.schema.json").read_text())["additionalProperties"] is False
