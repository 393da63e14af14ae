"""docker-compose.yml is valid, and agrees with the code, with .env.example and with the rules it states itself."""

from __future__ import annotations

import json
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from realmate.runtime.postgres import QUIET
from realmate.runtime.settings import Settings

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

NEEDS = {"webhook": ["transport"], "conversations": ["database", "transport"], "query": ["database"]}
"""Of our long-running services, the settings that each reads and that have no default."""
OURS = [*NEEDS, "migrate"]
LONG_RUNNING = [name for name in SERVICES if name != "migrate"]

VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def assigned(text: str) -> dict[str, str]:
    """The variables of an environment file."""
    return dict(re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE))


def interpolated(value: str, environment: dict[str, str]) -> str:
    """`value` as Compose reads it: an empty variable counts as none where a default is given."""
    return VARIABLE.sub(lambda match: environment.get(match[1]) or match[2] or "", value)


def settings_of(service: str, **environment: str) -> Settings:
    """The settings of one of our containers, as it would read them itself."""
    given = SERVICES[service]["environment"]
    values = {name.lower(): interpolated(value, environment) for name, value in given.items()}
    return Settings(**{name: value for name, value in values.items() if value})


def seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_it_is_a_compose_file_by_the_specification() -> None:
    schema = json.loads((files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text())
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(COMPOSE)]
    assert errors == []


class TestTheEnvironment:
    @pytest.mark.parametrize("service", OURS)
    def test_of_a_service_of_ours_is_read_by_its_code(self, service: str) -> None:
        unread = {name for name in SERVICES[service]["environment"] if name.lower() not in Settings.model_fields}
        assert unread == set()

    @pytest.mark.parametrize("service", OURS)
    def test_of_a_service_of_ours_has_what_it_needs(self, service: str) -> None:
        settings = settings_of(service)
        assert all(getattr(settings, need) for need in NEEDS.get(service, ["database"]))

    @pytest.mark.parametrize("service", OURS)
    def test_gives_a_service_no_secret_that_it_does_not_need(self, service: str) -> None:
        needs = {f"{need.upper()}_URL" for need in NEEDS.get(service, ["database"])}
        assert {name for name in SERVICES[service]["environment"] if name.endswith("_URL")} == needs

    def test_leads_webhook_and_conversations_to_the_same_transport(self) -> None:
        assert settings_of("webhook").transport == settings_of("conversations").transport == "redis://redis:6379/0"

    def test_gives_the_services_the_password_that_the_database_has(self) -> None:
        postgres = {name: interpolated(value, {}) for name, value in SERVICES["postgres"]["environment"].items()}
        user, password, name = (postgres[f"POSTGRES_{part}"] for part in ("USER", "PASSWORD", "DB"))
        assert settings_of("query").database == f"postgresql://{user}:{password}@postgres:5432/{name}"

    def test_lets_postgres_log_nothing_that_people_write(self) -> None:
        assert {f"{name}={value}" for name, value in QUIET.items()} <= set(SERVICES["postgres"]["command"])


class TestTheExampleOfAnEnvironmentFile:
    def test_names_every_variable_that_can_be_set_and_no_other(self) -> None:
        read_by_compose_itself = {"COMPOSE_PROFILES"}
        assert set(assigned(EXAMPLE)) == {name for name, _ in VARIABLE.findall(TEXT)} | read_by_compose_itself

    def test_changes_nothing_when_it_is_copied_as_it_is(self) -> None:
        defaults = {name: value for name, value in VARIABLE.findall(TEXT) if value}
        assert {name: value for name, value in assigned(EXAMPLE).items() if value} == defaults

    def test_tells_how_to_say_who_may_send_and_read(self) -> None:
        advice = dict(re.findall(r"^#   (\w+)=(.*)$", EXAMPLE, re.MULTILINE))
        for service in NEEDS:
            mounted = [volume.split(":")[1] for volume in SERVICES[service]["volumes"]]
            settings = settings_of(service, **advice)
            for file in filter(None, (settings.sources_file, settings.tokens_file)):
                assert str(file.parent) in mounted
        assert settings_of("query", **advice).sources_file is None
        assert all("sources" not in volume for volume in SERVICES["query"]["volumes"])

    def test_tells_how_to_move_to_rabbitmq(self) -> None:
        advice = dict(re.findall(r"^#   (\w+)=(.*)$", EXAMPLE, re.MULTILINE))
        environment = {**assigned(EXAMPLE), **advice}
        rabbitmq = {
            name: interpolated(value, environment) for name, value in SERVICES["rabbitmq"]["environment"].items()
        }
        user, password = rabbitmq["RABBITMQ_DEFAULT_USER"], rabbitmq["RABBITMQ_DEFAULT_PASS"]
        assert settings_of("webhook", **environment).transport == f"amqp://{user}:{password}@rabbitmq:5672/"
        assert SERVICES["rabbitmq"]["profiles"] == [environment["COMPOSE_PROFILES"]]


class TestEveryContainer:
    @pytest.mark.parametrize("service", SERVICES)
    def test_runs_an_exact_image(self, service: str) -> None:
        _, _, tag = SERVICES[service]["image"].partition(":")
        assert re.search(r"\d", tag)
        assert "latest" not in tag

    @pytest.mark.parametrize("service", SERVICES)
    def test_may_do_no_more_than_it_needs(self, service: str) -> None:
        container = SERVICES[service]
        assert container["read_only"] is True
        assert container["cap_drop"] == ["ALL"]
        assert container["security_opt"] == ["no-new-privileges:true"]

    @pytest.mark.parametrize("service", LONG_RUNNING)
    def test_that_stays_is_checked_and_restarted(self, service: str) -> None:
        container = SERVICES[service]
        assert container["restart"] == "unless-stopped"
        assert container["healthcheck"]["test"]

    @pytest.mark.parametrize("service", SERVICES)
    def test_can_be_scaled_unless_it_is_the_edge_or_a_store(self, service: str) -> None:
        container = SERVICES[service]
        assert "container_name" not in container
        assert ("ports" in container) == (service == "edge")

    @pytest.mark.parametrize("service", SERVICES)
    def test_can_be_started_before_any_other(self, service: str) -> None:
        """Ours wait by themselves; and Podman never restarts what depends on `migrate`, which has ended."""
        assert "depends_on" not in SERVICES[service]

    @pytest.mark.parametrize("service", NEEDS)
    def test_of_ours_is_given_longer_to_stop_than_it_takes(self, service: str) -> None:
        settings = settings_of(service)
        takes = settings.drain_delay_s + settings.drain_timeout_s + 3
        assert seconds(SERVICES[service]["stop_grace_period"]) > takes


def test_the_stores_are_in_a_network_without_a_way_out() -> None:
    assert COMPOSE["networks"]["stores"]["internal"] is True
    stores = [name for name in SERVICES if "build" not in SERVICES[name] and name != "edge"]
    assert stores == ["postgres", "redis", "rabbitmq"]
    assert all(SERVICES[store]["networks"] == ["stores"] for store in stores)


def test_our_image_has_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {SERVICES[service]["image"] for service in OURS} == {f"realmate:{version}"}
    assert f"ARG VERSION={version}\n" in (ROOT / "Dockerfile").read_text()
