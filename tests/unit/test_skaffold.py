"""skaffold.yaml names what there is; its schema belongs to a program that no registry of ours has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
SKAFFOLD: dict[str, Any] = yaml.safe_load((ROOT / "skaffold.yaml").read_text())
(RELEASE,) = SKAFFOLD["deploy"]["helm"]["releases"]
(ARTIFACT,) = SKAFFOLD["build"]["artifacts"]


def test_it_builds_our_dockerfile_and_deploys_that_very_image() -> None:
    assert (ROOT / ARTIFACT["docker"]["dockerfile"]).exists()
    template = f"{{{{.IMAGE_TAG_{ARTIFACT['image']}}}}}"
    assert RELEASE["setValueTemplates"]["image.tag"] == template


def profile(name: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = (each for each in SKAFFOLD["profiles"] if each["name"] == name)
    return found


def test_dev_copies_python_files_to_where_the_image_has_them() -> None:
    assert profile("development")["activation"] == [{"command": "dev"}]
    values = {patch["path"].rpartition("/")[2]: patch["value"] for patch in profile("development")["patches"]}
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert f"AS {values['target']}\n" in dockerfile
    (rule,) = values["sync"]["manual"]
    python = re.search(r"^ARG PYTHON=(3\.\d+)", dockerfile, re.MULTILINE)
    assert python
    assert rule["dest"] == f"/opt/realmate/lib/python{python[1]}/site-packages"
    assert list(ROOT.glob(rule["src"]))
    assert all(str(file.relative_to(ROOT)).startswith(rule["strip"] + "realmate/") for file in ROOT.glob(rule["src"]))


def test_each_transport_has_a_profile_that_changes_what_is_there() -> None:
    for name in ("redis", "amqp"):
        (patch,) = profile(name)["patches"]
        assert patch["value"] == name
        target: Any = SKAFFOLD
        for step in patch["path"].removeprefix("/").split("/"):
            target = target[int(step)] if step.isdigit() else target[step]
        assert target == "redis"


def test_a_change_of_the_console_s_page_builds_the_image_anew() -> None:
    """Skaffold watches what the Dockerfile copies; where no rule copies a changed file into the pods, it builds."""
    assert "COPY console ./\n" in (ROOT / "Dockerfile").read_text()
    values = {patch["path"].rpartition("/")[2]: patch["value"] for patch in profile("development")["patches"]}
    assert not any(
        ROOT / "console" in file.parents for rule in values["sync"]["manual"] for file in ROOT.glob(rule["src"])
    )


def test_no_two_forwarded_services_want_the_same_port() -> None:
    [console] = [patch["value"] for patch in profile("console")["patches"] if patch["path"] == "/portForward/-"]
    ports = [forward["localPort"] for forward in [*SKAFFOLD["portForward"], console]]
    assert len(ports) == len(set(ports)) == 3


def test_the_chart_has_the_values_it_sets() -> None:
    values = yaml.safe_load((ROOT / RELEASE["chartPath"] / "values.yaml").read_text())
    names = [*RELEASE["setValueTemplates"], *RELEASE["setValues"]]
    begin = "/deploy/helm/releases/0/setValues/"
    patched = [patch["path"] for each in SKAFFOLD["profiles"] for patch in each["patches"] if begin in patch["path"]]
    names += [path.removeprefix(begin) for path in patched]
    assert {"development", "console.enabled"} <= set(names)
    for name in names:
        place = values
        for step in name.split("."):
            place = place[step]
