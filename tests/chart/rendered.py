"""The chart as helm renders it, for tests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from helm import helm

CHART = Path(__file__).parents[2] / "charts" / "realmate"
RELEASE, NAMESPACE = "shop", "attendance"
CONSOLE: dict[str, Any] = {"console": {"enabled": True}, "readers": {"existingSecret": "readers"}}
"""The values that turn the console on."""
DELIVERIES: dict[str, Any] = {"deliveries": {"enabled": True}}
WHOLE: dict[str, Any] = CONSOLE | DELIVERIES
"""The values that turn every service on."""

Object = dict[str, Any]


class RenderError(Exception):
    """helm rejected; the message is its."""


def merged(*several: dict[str, Any]) -> dict[str, Any]:
    """Several maps of values as one: what is in a later one comes over the earlier ones."""
    whole: dict[str, Any] = {}
    for values in several:
        for name, value in values.items():
            is_map = isinstance(value, dict) and isinstance(whole.get(name), dict)
            whole[name] = merged(whole[name], value) if is_map else value
    return whole


def render(values: dict[str, Any] | None = None, *, by: Callable[[], str] = helm) -> list[Object]:
    """Every object of an installation with these values, tests and hooks included. Raises RenderError."""
    return render_file(json.dumps(values or {}), by=by)


def render_file(
    values: str, *, release: str = RELEASE, namespace: str = NAMESPACE, by: Callable[[], str] = helm
) -> list[Object]:
    """The same with the text of a values file. Raises RenderError."""
    command = [by(), "template", release, str(CHART), "--namespace", namespace, "--values", "-"]
    done = subprocess.run(command, input=values, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RenderError(done.stderr)
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def found(objects: list[Object], kind: str, name: str) -> Object:
    """The one object of this kind; `name` without the release's."""
    whole = f"{RELEASE}-{name}" if name else RELEASE
    (one,) = (each for each in objects if each["kind"] == kind and each["metadata"]["name"] == whole)
    return one


def pods(objects: list[Object]) -> dict[str, Object]:
    """The specification of every pod there can be, by the name of what makes it."""
    specifications = {}
    for each in objects:
        name = f"{each['kind']} {each['metadata']['name']}"
        if each["kind"] == "Pod":
            specifications[name] = each["spec"]
        elif each["kind"] == "PodTemplate":
            specifications[name] = each["template"]["spec"]
        elif "template" in each.get("spec", {}):
            specifications[name] = each["spec"]["template"]["spec"]
    return specifications


def environment(pod: Object) -> dict[str, Any]:
    """The first container's variables: values, or where their secrets are."""
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in pod["containers"][0].get("env", [])}
