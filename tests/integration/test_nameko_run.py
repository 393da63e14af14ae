"""The services under `nameko run`, with the file of docs/nameko.md."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from uuid import uuid4

import pytest
import requests
import yaml

from installation import event
from realmate.local.ports import free_port
from realmate.local.service import Service
from realmate.local.valkey import Valkey
from realmate.sources import tokens

PATIENCE_S = 30.0
DOCUMENTATION = Path(__file__).parents[2] / "docs" / "nameko.md"
SERVICES = {"webhook": "WebhookService", "conversations": "ConversationsService", "query": "QueryService"}


class NamekoRun(Service):
    """`nameko run`, all three services in one process, with nothing of ours in its environment."""

    def __init__(self, config: Path, port: int, log: Path) -> None:
        super().__init__(list(SERVICES), {"PORT": str(port), "HOST": "127.0.0.1"}, log)
        self._config = config

    def start(self) -> None:
        command = [str(Path(sys.executable).parent / "nameko"), "run", "--config", str(self._config)]
        self._spawn(
            [*command, *(f"realmate.{name}.service:{it}" for name, it in SERVICES.items())],
            env={"PATH": os.environ["PATH"]},
        )


def test_the_documented_file_starts_services_with_all_their_settings(
    tmp_path: Path, database_url: str, valkey: Valkey
) -> None:
    [text] = re.findall(r"```yaml\n(.+?)```", DOCUMENTATION.read_text(), re.DOTALL)
    token = tokens.make()
    (tmp_path / "tokens.toml").write_text(tokens.entry("reader", token, ["read"], []))
    config = yaml.safe_load(text) | {
        "DATABASE_URL": database_url,
        "REDIS_URL": valkey.url,
        "PORT": free_port(),
        "TOKENS_FILE": str(tmp_path / "tokens.toml"),
    }
    (tmp_path / "realmate.yaml").write_text(yaml.safe_dump(config))
    with NamekoRun(tmp_path / "realmate.yaml", config["PORT"], tmp_path / "nameko.log") as process:
        process.wait_ready()
        conversation_id = str(uuid4())
        body = json.dumps(event("NEW_CONVERSATION", id=conversation_id))
        assert requests.post(f"{process.url}/webhook/", data=body, timeout=15).status_code == 201
        path = f"{process.url}/conversations/{conversation_id}/"
        assert requests.get(path, timeout=15).status_code == 401, "TOKENS_FILE is not ignored"
        shown = requests.get(path, headers={"Authorization": f"Bearer {token}"}, timeout=15)
        assert shown.json()["status"] == "OPEN"


@pytest.mark.parametrize(("name", "value"), [("PORT", "http"), ("DATABASE_URL", "mysql://u:hush@h/db")])
def test_a_wrong_key_is_named(tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / "realmate.yaml").write_text(yaml.safe_dump({"REDIS_URL": "redis://127.0.0.1:1/0", name: value}))
    process = NamekoRun(tmp_path / "realmate.yaml", 1, tmp_path / "nameko.log")
    process.start()
    process.wait(PATIENCE_S)
    assert process.exit_code not in {None, 0}
    log = (tmp_path / "nameko.log").read_text()
    assert f"SettingsError: {name}: " in log
    assert "hush" not in log
