"""Numbers in a values file arrive as they were written, and texts that look like numbers stay texts.

Helm keeps every number as a float, and prints 1048576 as 1.048576e+06 unless told otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, get_args

import kubernetes_validate
import pytest
import yaml
from pydantic.fields import FieldInfo

from realmate.kube_operator.kinds import ADMIN_PORT
from realmate.runtime.settings import Settings
from rendered import CHART, Object, RenderError, environment, found, pods, render, render_file

NUMBERS = {
    "1048576": "1048576",
    "1000000": "1000000",
    "123456789": "123456789",
    "1073741824": "1073741824",
    "9007199254740991": "9007199254740991",
    "1e6": "1000000",
    "2.5e+7": "25000000",
    "0x100000": "1048576",
    "0": "0",
    "-1": "-1",
    "0.5": "0.5",
    "12.5": "12.5",
    "1000000.5": "1000000.5",
    "0.001": "0.001",
    "true": "true",
    "false": "false",
    "'1e6'": "1e6",
    "'0042'": "0042",
    "'yes'": "yes",
    "'a: \"b\" \\ c'": 'a: "b" \\ c',
}
"""What a values file says, and what a process gets."""
NAMES = sorted(json.loads((CHART / "values.schema.json").read_text())["properties"]["settings"]["properties"])
assert len(NAMES) >= len(NUMBERS)

MANY = 2_000_000


def values_of(kind: type, field: FieldInfo) -> list[Any]:
    """Values that are worth a look for a setting of this type, as far as its bounds allow them."""
    bounds: dict[str, Any] = {
        name: getattr(bound, name)
        for bound in field.metadata
        for name in ("ge", "gt", "le", "lt")
        if hasattr(bound, name)
    }
    of_kinds: dict[type, list[float]] = {
        int: [1_048_576, 1_000_000, 65_535, 64, 1],
        float: [0.0001, 0.5, 2, 1_000_000, 1_234_567.25],
    }
    return [
        each
        for each in of_kinds[kind]
        if bounds.get("ge", each) <= each <= bounds.get("le", each)
        and bounds.get("gt", -1) < each < bounds.get("lt", each + 1)
    ]


def numeric() -> dict[str, list[Any]]:
    """Values worth a look for each setting that is a number."""
    numbers = {}
    for name, field in Settings.model_fields.items():
        for kind in (int, float) if name.upper() in NAMES else ():
            if field.annotation is kind or kind in get_args(field.annotation):
                numbers[name.upper()] = values_of(kind, field)
    return numbers


@pytest.fixture(scope="module")
def written() -> list[Object]:
    """An installation with each of the numbers as a setting, of whatever, and as a variable: M0, M1, and so on."""
    settings = ", ".join(f"{name}: {value}" for name, value in zip(NAMES, NUMBERS, strict=False))
    more = ", ".join(f"{{name: M{number}, value: {value}}}" for number, value in enumerate(NUMBERS))
    return render_file(f"settings: {{{settings}}}\nquery: {{extraEnv: [{more}]}}\n")


@pytest.mark.parametrize("name", ["webhook", "conversations", "query"])
def test_a_value_arrives_as_it_was_written(written: list[Object], name: str) -> None:
    told = environment(found(written, "Deployment", name)["spec"]["template"]["spec"])
    assert [told[name] for name, _ in zip(NAMES, NUMBERS, strict=False)] == list(NUMBERS.values())
    if name == "query":
        assert [told[f"M{number}"] for number in range(len(NUMBERS))] == list(NUMBERS.values())


@pytest.mark.parametrize("number", range(5))
def test_every_setting_that_is_a_number_is_read_as_it_was_written(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {name: values[number] for name, values in numeric().items() if number < len(values)}
    given.pop("CLAIM_IDLE_S", None)  # it has to do with COMMAND_TIMEOUT_S
    assert given
    objects = render_file(yaml.safe_dump({"webhook": {"settings": given}}))
    told = environment(found(objects, "Deployment", "webhook")["spec"]["template"]["spec"])
    for name in given:
        monkeypatch.setenv(name, told[name])
    monkeypatch.setenv("CLAIM_IDLE_S", "0.00001")
    read = Settings()
    assert {name: getattr(read, name.lower()) for name in given} == given


def test_a_null_is_as_if_it_were_not_there() -> None:
    objects = render_file("settings: {DRAIN_DELAY_S: null}\nwebhook: {podAnnotations: {a: null}}")
    pod = found(objects, "Deployment", "webhook")["spec"]["template"]
    assert environment(pod["spec"])["DRAIN_DELAY_S"] == "5"
    assert not pod["metadata"].get("annotations")


@pytest.mark.parametrize("value", ["[1]", "{a: 1}"])
def test_what_is_no_single_value_is_rejected(value: str) -> None:
    with pytest.raises(RenderError, match="settings"):
        render_file(f"settings: {{LOG_LEVEL: {value}}}")


def test_large_numbers_are_whole_numbers_wherever_they_are() -> None:
    scaling = {"enabled": True, "minReplicas": MANY, "maxReplicas": MANY, "targetCPUUtilizationPercentage": MANY}
    objects = render_file(
        yaml.safe_dump(
            {
                "webhook": {"replicas": MANY, "resources": {"limits": {"memory": 402_653_184, "cpu": 0.5}}},
                "query": {"autoscaling": scaling},
                "conversations": {"autoscaling": {**scaling, "enabled": False}},
                "keda": {"enabled": True, "waitingBatches": MANY},
            }
        )
    )
    assert found(objects, "Deployment", "webhook")["spec"]["replicas"] == MANY
    limits = pods(objects)["Deployment shop-webhook"]["containers"][0]["resources"]["limits"]
    assert limits == {"memory": 402_653_184, "cpu": 0.5}
    autoscaler = found(objects, "HorizontalPodAutoscaler", "query")["spec"]
    assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (MANY, MANY)
    assert autoscaler["metrics"][0]["resource"]["target"]["averageUtilization"] == MANY
    scaled = found(objects, "ScaledObject", "conversations")["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (MANY, MANY)
    assert scaled["triggers"][0]["metadata"]["lagCount"] == str(MANY)


def test_labels_and_annotations_are_texts() -> None:
    texts = {"prometheus.io/port": 9000, "prometheus.io/scrape": True, "build": 20261126}
    own = {"podAnnotations": texts, "podLabels": {"build": 20261126}, "nodeSelector": {"pool": 1}}
    objects = render_file(
        yaml.safe_dump(
            {
                **dict.fromkeys(("webhook", "conversations", "query", "operator"), own),
                "ingress": {
                    "enabled": True,
                    "annotations": {"nginx.ingress.kubernetes.io/proxy-read-timeout": 3600000},
                },
                "metrics": {"prometheusRule": {"enabled": True, "labels": {"build": 20261126}}},
            }
        )
    )
    for name in ("webhook", "conversations", "query", "operator"):
        template = found(objects, "Deployment", name)["spec"]["template"]
        annotations = template["metadata"]["annotations"]
        assert annotations == {"prometheus.io/port": "9000", "prometheus.io/scrape": "true", "build": "20261126"}
        assert template["metadata"]["labels"]["build"] == "20261126"
        assert template["spec"]["nodeSelector"] == {"pool": "1"}
    assert list(found(objects, "Ingress", "")["metadata"]["annotations"].values()) == ["3600000"]
    assert found(objects, "PrometheusRule", "")["metadata"]["labels"]["build"] == "20261126"


ALL = """
httpRoute: {enabled: true, parentRefs: [{name: gateway}]}
metrics: {podMonitor: {enabled: true}, prometheusRule: {enabled: true}, dashboard: {enabled: true}}
test: {source: "42"}
"""


@pytest.mark.parametrize("mode", ["namespace", "cluster", "none"])
def test_a_release_and_a_namespace_may_be_called_like_numbers(mode: str) -> None:
    objects = render_file(ALL + f"operator: {{mode: {mode}}}", release="2026", namespace="1000")
    for each in objects:
        _check_texts(each)
        if not each["apiVersion"].split("/")[0].endswith((".dev", ".com", "apiextensions.k8s.io", ".k8s.io")):
            kubernetes_validate.validate(each, "1.29.0", strict=True)
    (test,) = (each for each in objects if each["kind"] == "Pod")
    assert test["spec"]["containers"][0]["args"][-1] == "42"


def _check_texts(each: Object) -> None:
    metadata = each["metadata"]
    names = [metadata["name"], metadata.get("namespace", ""), *metadata.get("labels", {}).values()]
    assert [name for name in names if not isinstance(name, str)] == []


def bounds(schema: object) -> Iterator[float]:
    """Every minimum and maximum in a schema."""
    if isinstance(schema, dict):
        yield from (schema[name] for name in ("minimum", "maximum") if name in schema)
        for part in schema.values():
            yield from bounds(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from bounds(part)


def test_no_bound_of_a_definition_is_a_fraction() -> None:
    """The API server cuts it to a whole number before it looks at one: with a minimum of 0.001 it takes 0."""
    definitions = [each for each in render() if each["kind"] == "CustomResourceDefinition"]
    found_bounds = [bound for each in definitions for bound in bounds(each["spec"])]
    assert found_bounds
    assert [bound for bound in found_bounds if not float(bound).is_integer()] == []


def test_the_operator_asks_pods_on_the_port_that_the_chart_opens() -> None:
    rendered = render()
    ports = {
        port["containerPort"]
        for each in rendered
        if each["kind"] in {"Deployment", "StatefulSet"}
        for container in each["spec"]["template"]["spec"]["containers"]
        for port in container.get("ports", [])
        if port["name"] == "admin"
    }
    assert ports == {ADMIN_PORT}
