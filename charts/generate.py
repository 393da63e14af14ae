"""Writes what is made from something else: `make generate`.

The chart's values.schema.json and README.md come from its commented values. The schema of a WebhookSource's spec, and
the tables in docs/sources.md, come from services/realmate/sources/schema.py; that of a WebhookEndpoint's spec, and the
table in docs/endpoints.md, come from endpoint_schema.py beside it. docs/openapi.json is what the console shows at
/admin/openapi.json.

A value's comment stands above it, in Markdown. Lines that begin with @ are for the schema:

- `@enum a, b`, `@min 1`, `@nonempty`, `@pattern …`;
- `@items string` of a list; or `port`, `free`, or a name of KUBERNETES;
- `@optional integer` of a value that is null unless somebody sets it; `@alerts` for a map of alerts' names to switches;
- `@free` for a map that may hold anything, `@texts` for one of texts, numbers and switches, `@settings services` (or
  `operator`) for one of their settings, `@kubernetes …` for one that is a name of KUBERNETES.

Types are those of the defaults. What the values do not name is rejected, so that a slip of the pen is no default.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from typing import Any, NamedTuple

import click
import kubernetes_validate
import yaml
from msgspec import inspect

from realmate.console.api import DOCUMENT
from realmate.kube_operator.entry_schema import fields_of, spec_properties, structs_of, unwrapped
from realmate.kube_operator.settings import OperatorSettings
from realmate.runtime.settings import Settings
from realmate.sources.endpoint_schema import EndpointSettings
from realmate.sources.schema import HttpReply, SourceSettings

CHART = Path(__file__).parent / "realmate"
DOCS = Path(__file__).parents[1] / "docs"
DEFINITIONS: dict[str, type] = {"webhooksource": SourceSettings, "webhookendpoint": EndpointSettings}
"""The definitions whose specs are made from the schema of an entry in the file of sources."""
GENERATED = re.compile(r" *# `make generate` writes this part, from .*\n")
"""The line after which a definition's generated part begins."""
TYPES: dict[type, str] = {str: "string", bool: "boolean", int: "integer"}
TEXT = {"type": ["string", "number", "boolean", "null"]}
"""Whatever the templates write as a text; null: as if it were not there."""
ITEMS: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "port": {"type": "integer", "minimum": 1, "maximum": 65535},
    "free": {},
}
SETTINGS = {"services": Settings, "operator": OperatorSettings}
OF_THE_CHART = {
    *("HOST", "PORT", "ADMIN_PORT", "LOG_FORMAT", "REALMATE_DATA_DIR", "SOURCES_FILE", "TOKENS_FILE"),
    *(
        "TRANSPORT_KEYS_FILE",
        "TRANSPORT_URL",
        "DRAIN_TRANSPORT_URL",
        "REDIS_URL",
        "DATABASE_URL",
        "DATABASE_WRITER_URL",
        "DATABASE_READER_URL",
        "WEBHOOK_URL",
    ),
    *("OPERATOR_NAMESPACE", "OPERATOR_METRICS_TOKEN"),
}
"""Settings that other values decide."""
KUBERNETES = {
    "ResourceRequirements": "io.k8s.api.core.v1.ResourceRequirements",
    "Toleration": "io.k8s.api.core.v1.Toleration",
    "Affinity": "io.k8s.api.core.v1.Affinity",
    "EnvVar": "io.k8s.api.core.v1.EnvVar",
    "NetworkPolicyPeer": "io.k8s.api.networking.v1.NetworkPolicyPeer",
    "PodSecurityContext": "io.k8s.api.core.v1.PodSecurityContext",
    "SecurityContext": "io.k8s.api.core.v1.SecurityContext",
    "Volume": "io.k8s.api.core.v1.Volume",
    "VolumeMount": "io.k8s.api.core.v1.VolumeMount",
}
"""What is passed through to Kubernetes, by Kubernetes' own definitions."""
_DEFINITIONS = (
    Path(kubernetes_validate.__file__).parent
    / f"kubernetes-json-schema/v{kubernetes_validate.latest_version()}-local-strict/_definitions.json"
)
HEAD = """# The Helm chart of Realmate

{description}

```
helm install realmate charts/realmate --namespace realmate --create-namespace --wait
helm test realmate --namespace realmate
```

gives a whole installation, with a Postgres and a Redis of its own. For production name stores that somebody cares for:
`postgres.external`, `redis.external`, `rabbitmq.external`. Needs Kubernetes {kube_version} or later.

## Values

This page and values.schema.json are made from values.yaml (`make generate`). Other values are rejected.

"""


HINTS = {"enum", "min", "nonempty", "pattern", "items", "optional", "free", "texts", "settings", "kubernetes", "alerts"}


class Value(NamedTuple):
    path: tuple[str, ...]
    comment: str
    hints: dict[str, str]
    default: Any

    @property
    def is_leaf(self) -> bool:
        return not isinstance(self.default, dict) or self.is_open

    @property
    def is_open(self) -> bool:
        """Whether it is a map whose names are not fixed here."""
        return bool({"free", "texts", "settings", "kubernetes", "alerts"} & self.hints.keys())


def read(text: str) -> list[Value]:
    """Every value with its comment, in order. Raises ValueError for a hint that nobody knows."""
    document = yaml.safe_load(text)
    values: list[Value] = []
    comments: list[str] = []
    path: list[str] = []
    for line in text.splitlines():
        if found := re.fullmatch(r" *# ?(.*)", line):
            comments.append(found[1])
        elif found := re.match(r"( *)([A-Za-z]\w*):", line):
            depth = len(found[1]) // 2
            path = [*path[:depth], found[2]]
            if not any(value.is_open and value.path == tuple(path[: len(value.path)]) for value in values):
                values.append(_value(tuple(path), comments, document))
            comments = []
        else:
            comments = []
    return values


def _value(path: tuple[str, ...], comments: list[str], document: Any) -> Value:
    hints = dict(line.removeprefix("@").partition(" ")[::2] for line in comments if line.startswith("@"))
    if unknown := hints.keys() - HINTS:
        raise ValueError(f"{'.'.join(path)}: unknown hint {', '.join(unknown)}")
    for step in path:
        document = document[step]
    return Value(path, " ".join(line for line in comments if not line.startswith("@")), hints, document)


def schema(values: list[Value]) -> dict[str, Any]:
    root: dict[str, Any] = {"$schema": "http://json-schema.org/draft-07/schema#", **_object("")}
    root["properties"]["global"] = {"description": "Helm's own, for charts that have this one in them."}
    for value in values:
        place = root
        for step in value.path[:-1]:
            place = place["properties"][step]
        place["properties"][value.path[-1]] = _leaf(value) if value.is_leaf else _object(value.comment)
    root["definitions"] = _kubernetes_definitions()
    return root


def _kubernetes_definitions() -> dict[str, Any]:
    """Return the definitions of KUBERNETES, and all that they refer to, without their descriptions."""
    all_of_them = json.loads(_DEFINITIONS.read_text())["$defs"]
    found: dict[str, Any] = {}
    wanted = [*KUBERNETES.values()]
    while wanted:
        if (name := wanted.pop()) not in found:
            found[name] = _bare(all_of_them[name])
            wanted += re.findall(r'"#/definitions/([^"]+)"', json.dumps(found[name]))
    found[KUBERNETES["EnvVar"]]["properties"]["value"] = TEXT  # the templates write it as a text
    return dict(sorted(found.items()))


def _bare(node: Any) -> Any:
    """Types, names and references alone: the rest is Kubernetes' documentation and bookkeeping."""
    if isinstance(node, list):
        return [_bare(each) for each in node]
    if not isinstance(node, dict):
        return node.replace("#/$defs/", "#/definitions/") if isinstance(node, str) else node
    return {
        key: {name: _bare(each) for name, each in value.items()} if key == "properties" else _bare(value)
        for key, value in node.items()
        if key != "description" and not key.startswith("x-")
    }


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/definitions/{KUBERNETES[name]}"}


def _object(description: str) -> dict[str, Any]:
    told = {"description": description} if description else {}
    return {"type": "object", **told, "additionalProperties": False, "properties": {}}


def _leaf(value: Value) -> dict[str, Any]:
    told: dict[str, Any] = {"description": value.comment} if value.comment else {}
    if isinstance(value.default, dict):
        return told | _map(value.hints)
    if isinstance(value.default, list):
        of = value.hints["items"]
        return {"type": "array", **told, "items": ITEMS[of] if of in ITEMS else _reference(of)}
    if "optional" in value.hints:
        return told | {"type": [value.hints["optional"], "null"], "minimum": 0}
    told["type"] = TYPES[type(value.default)]
    if "enum" in value.hints:
        told["enum"] = [yaml.safe_load(each) for each in value.hints["enum"].split(", ")]
        if {type(each) for each in told["enum"]} != {type(value.default)}:
            del told["type"]
    if "min" in value.hints:
        told["minimum"] = int(value.hints["min"])
    if "nonempty" in value.hints:
        told["minLength"] = 1
    if "pattern" in value.hints:
        told["pattern"] = value.hints["pattern"]
    return told


def _alert_names() -> Iterator[str]:
    """Yield the name of each alert, and its former one where it has been renamed."""
    for path in CHART.glob("alerts/*.yaml"):
        yield from re.findall(r"^(?:alert|formerly): (\w+)", path.read_text(), re.MULTILINE)


def _map(hints: dict[str, str]) -> dict[str, Any]:
    if "kubernetes" in hints:
        return {"allOf": [_reference(hints["kubernetes"])]}  # in draft 7 nothing may stand beside a reference
    if "alerts" in hints:
        alerts = {name: {"type": "boolean"} for name in sorted(_alert_names())}
        return {"type": "object", "additionalProperties": False, "properties": alerts}
    if "settings" in hints:
        names = {name.upper() for name in SETTINGS[hints["settings"]].model_fields} - OF_THE_CHART
        return {
            "type": "object",
            "additionalProperties": False,
            "properties": dict.fromkeys(sorted(names), TEXT),
        }
    return {"type": "object", **({"additionalProperties": TEXT} if "texts" in hints else {})}


def readme(values: list[Value], chart: dict[str, Any]) -> str:
    minimum = re.search(r"[\d.]+", chart["kubeVersion"])
    head = HEAD.format(description=chart["description"], kube_version=minimum[0].removesuffix(".0") if minimum else "")
    return head + "| value | default | what it is |\n|---|---|---|\n" + "\n".join(_rows(values)) + "\n"


def _rows(values: list[Value]) -> Iterator[str]:
    described: dict[tuple[str, ...], Value] = {}
    for value in values:
        name = ".".join(value.path)
        like = described.get(value.path[1:])
        told = value.comment or ("" if like is None else f"As `{'.'.join(like.path)}`.")
        if value.comment:
            described.setdefault(value.path[1:], value)
        if "enum" in value.hints:
            told = f"{told} One of {', '.join(f'`{each}`' for each in value.hints['enum'].split(', '))}.".strip()
        if value.is_leaf:
            yield f"| `{name}` | `{json.dumps(value.default)}` | {told} |"
        elif told:
            yield f"| **`{name}`** | | {told} |"


def with_spec(name: str, definition: str) -> str:
    """Return a definition with the properties of its spec."""
    own = yaml.safe_load((CHART.parent / f"{name}-spec.yaml").read_text())
    properties = _merged(spec_properties(DEFINITIONS[name]), own)
    dumper = yaml.SafeDumper
    dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign,assignment]
    written = yaml.dump(properties, Dumper=dumper, sort_keys=False, width=130, default_flow_style=None)
    begins = GENERATED.search(definition)
    if begins is None:
        raise ValueError(f"crd-{name}.yaml: no line says where the generated part begins")
    end = definition[definition.index("                # The end", begins.end()) :]
    return f"{definition[: begins.end()]}{indent(written, 16 * ' ')}{end}"


def _merged(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        both = one.keys() & other.keys()
        return one | other | {name: _merged(one[name], other[name]) for name in both}
    return other


TABLES: dict[str, dict[str, type]] = {
    "sources.md": {"source": SourceSettings, "reply": HttpReply},
    "endpoints.md": {"endpoint": EndpointSettings},
}
"""The tables of settings in each page of the documentation, with what they are made from."""


def with_tables(page: str) -> str:
    """Return a page of the documentation with its tables of settings."""
    documentation = (DOCS / page).read_text()
    for name, settings in TABLES[page].items():
        rows = _setting_rows("", inspect.type_info(settings))
        begin, end = f"<!-- make generate: {name} -->\n", "<!-- end -->"
        before, _, rest = documentation.partition(begin)
        _, _, after = rest.partition(end)
        table = "".join(["| setting | default | what it is |\n", "|---|---|---|\n", *rows])
        documentation = f"{before}{begin}{table}{end}{after}"
    return documentation


def _setting_rows(prefix: str, type_: inspect.Type) -> Iterator[str]:
    """Yield a line for each setting of a table. The settings of a reply have a table of their own."""
    for name, field in fields_of(type_).items():
        structs = structs_of(field.type)
        if structs and structs[0].tag_field is None:
            yield from _setting_rows(f"{prefix}{name}.", field.type)
            continue
        tag = f".{structs[0].tag_field}" if structs else ""
        if not isinstance(unwrapped(field.type)[0], inspect.LiteralType):  # the tag itself has its line already
            yield f"| `{prefix}{name}{tag}` | {_default(field)} | {unwrapped(field.type)[1]} |\n"
        if structs and name != "reply":
            yield from _setting_rows(f"{prefix}{name}.", field.type)


def _default(field: inspect.Field) -> str:
    """Say what holds where the setting is not given."""
    type_ = field.type
    while isinstance(type_, inspect.Metadata | inspect.UnionType):
        if isinstance(type_, inspect.Metadata):
            if type_.extra:
                return str(type_.extra["default"])
            type_ = type_.type
        else:
            type_ = type_.types[0]
    if field.required:
        return "required"
    return "none" if field.default is None else f"`{json.dumps(field.default, ensure_ascii=False)}`".replace(".0`", "`")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--output", default=CHART, type=click.Path(file_okay=False, path_type=Path), help="Instead of the chart.")
def main(output: Path) -> None:
    """Write everything that is generated, in its place or into another directory."""
    values = read((CHART / "values.yaml").read_text())
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    (output / "values.schema.json").write_text(json.dumps(schema(values), indent=2) + "\n")
    (output / "README.md").write_text(readme(values, chart))
    for name in DEFINITIONS:
        definition = (CHART / "templates" / f"crd-{name}.yaml").read_text()
        folder = output / "templates" if output == CHART else output
        folder.joinpath(f"crd-{name}.yaml").write_text(with_spec(name, definition))
    for page in TABLES:
        (DOCS if output == CHART else output).joinpath(page).write_text(with_tables(page))
    (DOCS if output == CHART else output).joinpath("openapi.json").write_bytes(DOCUMENT + b"\n")


if __name__ == "__main__":
    main()
