"""One installation of the chart in a namespace of its own, on the cluster that KUBECONFIG names."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import requests

from helm import program

CHART = Path(__file__).parents[2] / "charts" / "realmate"
NAME = "realmate"
PATIENCE_S = 240.0
"""The kubelet brings a changed Secret into a pod within a minute and a half."""

Object = dict[str, Any]


class Rejected(Exception):
    """helm or kubectl ended with an error; the message is theirs."""


class Release:
    """`values` are those of the chart; `E2E_VALUES` names a file of what this cluster needs."""

    def __init__(self, url: str, values: Mapping[str, Any] | None = None) -> None:
        self.url = url
        self.namespace = f"e2e-{uuid4().hex[:8]}"
        self.values: dict[str, Any] = {"ingress": {"enabled": True}, **(values or {})}
        self.kubectl("create", "namespace", self.namespace)
        self.kubectl("label", "namespace", self.namespace, "pod-security.kubernetes.io/enforce=restricted")

    def install(self, chart: Path = CHART, **values: Any) -> None:
        """Or upgrade, and wait until it is ready. Raises Rejected."""
        self.values |= values
        # The definitions are the cluster's, and may be there from an installation before.
        arguments = ["upgrade", "--install", NAME, str(chart), "--take-ownership"]
        arguments += ["--wait", "--timeout", "180s", "--values", "-"]
        if "E2E_VALUES" in os.environ:
            arguments += ["--values", os.environ["E2E_VALUES"]]
        self.helm(*arguments, stdin=json.dumps(self.values))
        if self.values["ingress"]["enabled"]:
            eventually(self._is_led_to, "the Ingress leads to it")

    def _is_led_to(self) -> bool:
        """Whether both ways lead to us: the Ingress' own 404 is no JSON. (helm does not wait for an Ingress.)"""
        asked = [("POST", "/webhook/"), ("GET", f"/conversations/{uuid4()}/")]
        try:
            answers = [requests.request(method, self.url + path, timeout=10) for method, path in asked]
        except requests.RequestException:
            return False
        return all("json" in answer.headers.get("content-type", "") for answer in answers)

    def uninstall(self) -> None:
        self.helm("uninstall", NAME, "--wait", "--timeout", "180s")

    def delete(self) -> None:
        self.kubectl("delete", "ingress", "--all")  # at once: the next installation needs its paths
        self.kubectl("delete", "namespace", self.namespace, "--wait=false")

    def helm(self, *arguments: str, stdin: str | None = None) -> str:
        return _run([program("helm"), "--namespace", self.namespace, *arguments], stdin)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        return _run([program("kubectl"), "--namespace", self.namespace, *arguments], stdin)

    def apply(self, *objects: Object) -> None:
        for each in objects:
            self.kubectl("apply", "--filename", "-", stdin=json.dumps(each))

    def patch(self, kind: str, name: str, patch: Object) -> None:
        self.kubectl("patch", kind, name, "--type=merge", "--patch", json.dumps(patch))

    def get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(self.kubectl("get", kind, name, "--output=json"))
        return found

    def list(self, kind: str, selector: str = "") -> list[Object]:
        chosen = ["--selector", selector] if selector else []
        items: list[Object] = json.loads(self.kubectl("get", kind, "--output=json", *chosen))["items"]
        return items

    def secret(self, name: str, key: str) -> str:
        return base64.b64decode(self.get("secret", name)["data"][key]).decode()

    def post(self, body: bytes, *, source: str = "", headers: Mapping[str, str] | None = None) -> int:
        """The status; 0 where nobody answered."""
        path = f"/webhook/{source}/" if source else "/webhook/"
        try:
            return requests.post(self.url + path, data=body, headers=headers, timeout=10).status_code
        except requests.RequestException:
            return 0


def eventually(condition: Callable[[], object], what: str) -> None:
    """Raises AssertionError."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(1)


def _run(command: list[str], stdin: str | None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Rejected(done.stderr)
    return done.stdout
