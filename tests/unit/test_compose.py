"""docker-compose.yml is valid, and agrees with the code, with .env.example and with the rules it states itself."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
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

NEEDS = {
    "webhook": ["transport"],
    "conversations": ["database", "transport"],
    "query": ["database"],
    "console": ["database", "webhook_url"],
    "deliveries": ["database"],
}
"""Of our long-running services, the settings that each reads and that have no default."""
OURS = [*NEEDS, "migrate"]
LONG_RUNNING = [name for name in SERVICES if name not in {"migrate", "transport-keys"}]
DOCS = (ROOT / "docs/privileges.md").read_text()

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
    values: dict[str, Any] = {name.lower(): interpolated(value, environment) for name, value in given.items()}
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
        needs = {
            f"{need.upper().removesuffix('_URL')}_URL"
            for need in NEEDS.get(service, ["database", "database_writer", "database_reader"])
        }
        needs |= {"REDIS_URL"} if service == "webhook" else set()
        assert {name for name in SERVICES[service]["environment"] if name.endswith("_URL")} == needs

    def test_leads_webhook_and_conversations_to_the_same_transport(self) -> None:
        ends = {service: settings_of(service).transport for service in ("webhook", "conversations")}
        assert ends == {service: f"redis://{service}:{service}@redis:6379/0" for service in ends}

    def test_gives_the_services_the_password_that_the_database_has(self) -> None:
        postgres = {name: interpolated(value, {}) for name, value in SERVICES["postgres"]["environment"].items()}
        user, password, name = (postgres[f"POSTGRES_{part}"] for part in ("USER", "PASSWORD", "DB"))
        assert settings_of("migrate").database == f"postgresql://{user}:{password}@postgres:5432/{name}"

    def test_gives_each_service_the_role_that_migrate_makes_for_it(self) -> None:
        made = settings_of("migrate")
        writers = {settings_of(service).database for service in ("conversations", "console", "deliveries")}
        assert {made.database_writer_url} == writers
        assert made.database_reader_url == settings_of("query").database
        assert len({made.database, made.database_writer_url, made.database_reader_url}) == 3

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
        for user in ("webhook", "conversations"):
            assert settings_of(user, **environment).transport == f"amqp://{user}:{user}@rabbitmq:5672/"
        assert SERVICES["rabbitmq"]["profiles"] == [environment["COMPOSE_PROFILES"]]


class TestEveryContainer:
    @pytest.mark.parametrize("service", SERVICES)
    def test_runs_an_exact_image(self, service: str) -> None:
        image = VARIABLE.sub(lambda found: found[2], SERVICES[service]["image"])
        _, _, tag = image.partition(":")
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


class TestTheBrokersUsers:
    def test_of_redis_are_those_of_the_docs_and_nobody_else_can_do_anything(self) -> None:
        [lines] = re.findall(r"```redis\n(.*?)```", DOCS, re.DOTALL)
        wanted = [line.replace("-password", "").split()[1:] for line in lines.splitlines()]
        given = [interpolated(str(word), {}) for word in SERVICES["redis"]["command"]]
        starts = [place for place, word in enumerate(given) if word == "--user"]
        default, *users = [given[start + 1 : end] for start, end in zip(starts, [*starts[1:], None], strict=True)]
        assert default == ["default", "on", "nopass", "resetchannels", "-@all", "+ping"]
        assert users == [rule for rule in wanted if rule[0] != "scaler"]

    def test_of_rabbitmq_are_those_of_the_docs(self, tmp_path: Path) -> None:
        [lines] = re.findall(r"```bash\n(rabbitmqctl.*?)```", DOCS, re.DOTALL)
        loaded = rabbitmq_users(tmp_path)
        assert {user["name"]: user["password"] for user in loaded["users"]} == {"webhook": "a", "conversations": "b"}
        said = [
            *(["add_user", user["name"], f"{user['name']}-password"] for user in loaded["users"]),
            *(
                ["set_permissions", rule["user"], rule["configure"], rule["write"], rule["read"]]
                for rule in loaded["permissions"]
            ),
            *(
                ["set_topic_permissions", rule["user"], rule["exchange"], rule["write"], rule["read"]]
                for rule in loaded["topic_permissions"]
            ),
        ]
        assert sorted(said) == sorted(shlex.split(line)[1:] for line in lines.splitlines())


def rabbitmq_users(directory: Path) -> Any:
    """The definitions that RabbitMQ's container loads, as its command writes them."""
    *shell, script = SERVICES["rabbitmq"]["command"]
    script = script.replace("$$", "$").replace("/tmp", str(directory))  # noqa: S108 (the container's)
    script = script.replace("exec docker-entrypoint.sh", "#")
    environment = {**os.environ, "WEBHOOK_PASSWORD": "a", "CONVERSATIONS_PASSWORD": "b"}
    subprocess.run([*shell, script], env=environment, check=True)
    return json.loads((directory / "users.json").read_text())


def test_the_transport_s_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    maker = SERVICES["transport-keys"]
    [script] = maker["command"]
    script = script.replace("/etc/realmate/transport", str(tmp_path))
    for _ in range(2):
        subprocess.run([sys.executable, "-c", script], check=True)
        keys = (tmp_path / "keys").read_text()
    subprocess.run([sys.executable, "-c", script], check=True)
    assert (tmp_path / "keys").read_text() == keys
    assert len(keys.strip()) >= 32
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600
    mounting = {name for name, each in SERVICES.items() if any("transport:" in str(v) for v in each.get("volumes", []))}
    assert mounting == {"transport-keys", "webhook", "conversations"}


@pytest.mark.parametrize("service", NEEDS)
def test_health_is_asked_on_the_port_that_no_sender_can_fill(service: str) -> None:
    port = settings_of(service).admin_port
    assert f"127.0.0.1:{port}/readyz" in SERVICES[service]["healthcheck"]["test"][-1]
    assert f":8000 port {port} " in (ROOT / "edge/servers.cfg").read_text()


def test_the_stores_are_in_a_network_without_a_way_out() -> None:
    assert COMPOSE["networks"]["stores"]["internal"] is True
    stores = [name for name in SERVICES if "build" not in SERVICES[name] and name != "edge"]
    assert stores == ["postgres", "redis", "rabbitmq"]
    assert all(SERVICES[store]["networks"] == ["stores"] for store in stores)


def test_deliveries_alone_have_a_way_out_of_their_own() -> None:
    assert SERVICES["deliveries"]["networks"] == ["receivers", "stores"]
    assert not (COMPOSE["networks"]["receivers"] or {}).get("internal")
    assert [name for name in SERVICES if "receivers" in SERVICES[name].get("networks", [])] == ["deliveries"]


def test_our_image_has_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert {SERVICES[service]["image"] for service in OURS} == {f"realmate:{version}"}
    assert f"ARG VERSION={version}\n" in (ROOT / "Dockerfile").read_text()
