"""A replica of the console is killed during a replay: another one goes on with it, and sends nothing twice."""

from __future__ import annotations

import json
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import requests

from installation import event
from realmate.local.postgres import running_url
from receivers import until
from replicas import Replicas, start_replicas

EVENTS = 12
OURS = {"X-Realmate-Console": "1"}


def post(replicas: Replicas, kind: str, **data: str) -> requests.Response:
    return requests.post(f"{replicas.webhook[0].url}/webhook/", data=json.dumps(event(kind, **data)), timeout=30)


def expire(replicas: Replicas) -> str:
    """Let messages expire, and open their conversation then; its id."""
    key = str(uuid.uuid4())
    for number in range(EVENTS):
        said = {"id": str(uuid.uuid4()), "conversation_id": key, "content": f"message {number}"}
        assert post(replicas, "NEW_MESSAGE", **said).status_code == 202
    rejections = f"{replicas.console[0].url}/admin/rejections/?conversation={key}"
    until(lambda: len(requests.get(rejections, timeout=30).json()["items"]) == EVENTS)
    assert post(replicas, "NEW_CONVERSATION", id=key).status_code == 201
    return key


def end_leases(directory: Path) -> None:
    """Let the time pass after which a replica that says nothing has lost its jobs."""
    url = running_url(directory / "postgres")
    assert url
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("UPDATE jobs SET leased_until = now() WHERE state = 'running'")
        assert cursor.rowcount == 1


def test_another_replica_goes_on_with_a_replay(tmp_path: Path) -> None:
    with start_replicas(tmp_path, "redis", console=True, HOLD_TOLERANCE_S="0.5") as replicas:
        key = expire(replicas)
        first, second = replicas.console
        second.kill()
        asked = {"conversation": key, "dry_run": False, "rate": 2}
        job = requests.post(f"{first.url}/admin/replays/", json=asked, headers=OURS, timeout=30).json()
        path = f"/admin/replays/{job['id']}/"
        until(lambda: requests.get(first.url + path, timeout=30).json()["sent"] >= 2)
        first.kill()
        second.start()
        second.wait_ready()
        end_leases(tmp_path)
        ended = until(lambda: ended_job(second.url + path))
        assert (ended["state"], ended["sent"]) == ("done", EVENTS)
        shown = requests.get(f"{replicas.query[0].url}/conversations/{key}/", timeout=30).json()
        contents = sorted(message["content"] for message in shown["messages"] if message["type"] == "INBOUND")
        assert contents == sorted(f"message {number}" for number in range(EVENTS))


def ended_job(url: str) -> dict[str, Any] | None:
    job: dict[str, Any] = requests.get(url, timeout=30).json()
    return None if job["state"] == "running" else job
