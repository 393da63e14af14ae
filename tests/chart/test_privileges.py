"""In the chart each service has a user of its own in each store, with the rights that docs/privileges.md gives it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from rendered import RELEASE, WHOLE, Object, environment, found, pods, render

DOCS = (Path(__file__).parents[2] / "docs" / "privileges.md").read_text()
SEPARATE: dict[str, Any] = {
    "postgres": {"external": {"existingSecret": "pg", "writerKey": "W", "readerKey": "R"}},
    "redis": {"external": {"existingSecret": "redis", "webhookKey": "H", "conversationsKey": "C"}},
    "rabbitmq": {"external": {"existingSecret": "rabbit", "webhookKey": "H", "conversationsKey": "C"}},
}


def told(objects: list[Object], kind: str, name: str) -> dict[str, Any]:
    """The variables of a pod that come from Secrets: Secret and key."""
    pod = found(objects, kind, name)["spec"]["template"]["spec"]
    return {
        variable: (value["secretKeyRef"]["name"], value["secretKeyRef"]["key"])
        for variable, value in environment(pod).items()
        if isinstance(value, dict)
    }


@pytest.mark.parametrize("transport", ["redis", "amqp"])
def test_each_service_gets_the_url_of_its_own_user(transport: str) -> None:
    objects = render(WHOLE | {"transport": {"kind": transport}})
    broker = f"{RELEASE}-{'rabbitmq' if transport == 'amqp' else 'redis'}"
    assert told(objects, "Deployment", "query") == {"DATABASE_URL": (f"{RELEASE}-postgres", "READER_URL")}
    assert told(objects, "Deployment", "console") == {"DATABASE_URL": (f"{RELEASE}-postgres", "WRITER_URL")}
    assert told(objects, "Deployment", "deliveries") == {"DATABASE_URL": (f"{RELEASE}-postgres", "WRITER_URL")}
    assert told(objects, "Deployment", "conversations") == {
        "DATABASE_URL": (f"{RELEASE}-postgres", "WRITER_URL"),
        "TRANSPORT_URL": (broker, "CONVERSATIONS_URL"),
    }
    assert told(objects, "Deployment", "webhook") == {
        "REDIS_URL": (f"{RELEASE}-redis", "WEBHOOK_URL"),
        "TRANSPORT_URL": (broker, "WEBHOOK_URL"),
    }


def test_only_the_migration_knows_the_owner_and_admin_pods_write() -> None:
    objects = render(WHOLE)
    owners = {
        name
        for name, pod in pods(objects).items()
        for value in environment(pod).values()
        if isinstance(value, dict) and value.get("secretKeyRef", {}).get("key") == "DATABASE_URL"
    }
    assert len(owners) == 1
    [job] = owners
    assert job.startswith(f"Job {RELEASE}-migrate-")
    assert told(objects, "Job", job.removeprefix(f"Job {RELEASE}-")) == {
        "DATABASE_URL": (f"{RELEASE}-postgres", "DATABASE_URL"),
        "DATABASE_WRITER_URL": (f"{RELEASE}-postgres", "WRITER_URL"),
        "DATABASE_READER_URL": (f"{RELEASE}-postgres", "READER_URL"),
    }
    admin = found(objects, "PodTemplate", "admin")["template"]["spec"]
    assert environment(admin)["DATABASE_URL"]["secretKeyRef"]["key"] == "WRITER_URL"


@pytest.mark.parametrize("separate", [True, False])
def test_an_external_store_has_a_key_for_each_user_or_one_for_all(*, separate: bool) -> None:
    values = SEPARATE if separate else {name: {"external": {"existingSecret": name}} for name in SEPARATE}
    objects = render(values | WHOLE | {"transport": {"kind": "amqp"}})
    keys = {
        (name, variable): key
        for name in ("webhook", "conversations", "query", "console", "deliveries")
        for variable, (_, key) in told(objects, "Deployment", name).items()
    }
    assert keys == {
        ("webhook", "REDIS_URL"): "H" if separate else "REDIS_URL",
        ("webhook", "TRANSPORT_URL"): "H" if separate else "AMQP_URL",
        ("conversations", "DATABASE_URL"): "W" if separate else "DATABASE_URL",
        ("conversations", "TRANSPORT_URL"): "C" if separate else "AMQP_URL",
        ("query", "DATABASE_URL"): "R" if separate else "DATABASE_URL",
        ("console", "DATABASE_URL"): "W" if separate else "DATABASE_URL",
        ("deliveries", "DATABASE_URL"): "W" if separate else "DATABASE_URL",
    }
    [job] = [each["metadata"]["name"] for each in objects if "migrate" in each["metadata"]["name"]]
    assert ("DATABASE_WRITER_URL" in told(objects, "Job", job.removeprefix(f"{RELEASE}-"))) is separate


def test_redis_has_the_users_of_the_docs() -> None:
    [lines] = re.findall(r"```redis\n(.*?)```", DOCS, re.DOTALL)
    wanted = [
        re.sub(r">(\w+)-password", lambda match: f">$({match[1].upper()}_PASSWORD)", line).split()[1:]
        for line in lines.splitlines()
    ]
    [container] = found(render(), "StatefulSet", "redis")["spec"]["template"]["spec"]["containers"]
    _, *users = " ".join(container["args"]).split(" --user ")
    assert [user.split() for user in users] == wanted


def test_rabbitmq_has_the_users_of_the_docs() -> None:
    [lines] = re.findall(r"```bash\n(rabbitmqctl.*?)```", DOCS, re.DOTALL)
    permissions, topics = {}, {}
    for line in lines.splitlines():
        match shlex.split(line)[1:]:
            case ["set_permissions", user, *patterns]:
                permissions[user] = patterns
            case ["set_topic_permissions", user, "nameko-rpc", *patterns]:
                topics[user] = patterns
    data = found(render({"transport": {"kind": "amqp"}}), "Secret", "rabbitmq")["stringData"]
    loaded = json.loads(data["users.json"])
    kinds = ("configure", "write", "read")
    assert {each["user"]: [each[kind] for kind in kinds] for each in loaded["permissions"]} == permissions | {
        "realmate": [".*"] * 3
    }
    assert {each["user"]: [each["write"], each["read"]] for each in loaded["topic_permissions"]} == topics
    assert {each["name"]: each["tags"] for each in loaded["users"]} == {
        "realmate": ["administrator"],
        "webhook": [],
        "conversations": [],
    }
    for each in loaded["users"]:
        assert each["password"] == data["password" if each["name"] == "realmate" else f"{each['name']}-password"]


def test_the_transport_s_keys_are_in_webhook_and_conversations_alone() -> None:
    objects = render(WHOLE)
    [key] = found(objects, "Secret", "transport-keys")["stringData"].values()
    assert len(key) == 40
    mounting = {
        name
        for name, pod in pods(objects).items()
        for volume in pod.get("volumes", [])
        if volume.get("secret", {}).get("secretName") == f"{RELEASE}-transport-keys"
    }
    assert mounting == {f"Deployment {RELEASE}-webhook", f"Deployment {RELEASE}-conversations"}
    for name in ("webhook", "conversations"):
        pod = found(objects, "Deployment", name)["spec"]["template"]["spec"]
        path = environment(pod)["TRANSPORT_KEYS_FILE"]
        [mount] = [each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "transport"]
        assert path == f"{mount['mountPath']}/keys"
    mine = render({"transport": {"keys": {"existingSecret": "mine", "key": "all"}}})
    assert "shop-transport-keys" not in json.dumps(mine)


@pytest.mark.parametrize("name", ["webhook", "conversations", "query", "console", "deliveries"])
def test_probes_ask_the_port_that_no_sender_can_fill(name: str) -> None:
    [container] = found(render(WHOLE), "Deployment", name)["spec"]["template"]["spec"]["containers"]
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/servingz")):
        assert container[probe]["httpGet"] == {"path": path, "port": "admin"}
    assert environment({"containers": [container]})["ADMIN_PORT"] == "9000"
