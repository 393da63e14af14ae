"""skaffold.yaml names what there is; its schema belongs to a program that no registry of ours has."""

from __future__ import annotations

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


def test_each_transport_has_a_profile_that_changes_what_is_there() -> None:
    assert [profile["name"] for profile in SKAFFOLD["profiles"]] == ["redis", "amqp"]
    for profile in SKAFFOLD["profiles"]:
        (patch,) = profile["patches"]
        assert patch["value"] == profile["name"]
        target: Any = SKAFFOLD
        for step in patch["path"].removeprefix("/").split("/"):
            target = target[int(step)] if step.isdigit() else target[step]
        assert target == "redis"


def test_no_two_forwarded_services_want_the_same_port() -> None:
    ports = [forward["localPort"] for forward in SKAFFOLD["portForward"]]
    assert len(ports) == len(set(ports)) == 2
