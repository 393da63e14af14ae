"""The Jobs of replays and erasures, and what becomes of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner

from realmate.cli import main
from realmate.kube_operator import replays
from realmate.kube_operator.desired import Installation
from realmate.kube_operator.kinds import ADMIN_PORT, Object

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEMPLATE: Object = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "admin", "image": "realmate"}]},
}
HERE = Installation("here", "realmate", "secret", "", "http://webhook:8000", True, TEMPLATE)  # noqa: FBT003
WHOLE: Object = {
    "source": "shop",
    "codes": ["expired", "hold_expired"],
    "since": "2026-01-01T00:00:00Z",
    "until": "2026-01-02T00:00:00Z",
    "conversation": "6a41b347-8d80-4ce9-84ba-7af66f369f6a",
    "again": True,
    "eventsPerSecond": 20,
}


def replay(before: Object | None = None, /, **spec: Any) -> Object:
    metadata = {"name": "r", "namespace": "here", "uid": "1", "generation": 1}
    return {"metadata": metadata, "spec": spec, **({"status": before} if before else {})}


def job(condition: str) -> Object:
    return {"status": {"conditions": [{"type": condition, "status": "True"}]}}


def report(total: int, sent: int, **answers: int) -> Object:
    return {"total": total, "sent": sent, "answers": {name.replace("_", " "): count for name, count in answers.items()}}


@pytest.mark.parametrize("spec", [{}, WHOLE, WHOLE | {"dryRun": True}])
def test_the_command_takes_what_a_job_says(spec: Object) -> None:
    """Every option is one that there is; what fails then is the database, which there is not."""
    made = replays.replay_job(replay(**spec), HERE)
    arguments = made["spec"]["template"]["spec"]["containers"][0]["args"]
    assert ("--send" in arguments) is not spec.get("dryRun", False)
    arguments = [
        each for each in arguments if each not in {"--report", "/dev/termination-log", "--report-port", str(ADMIN_PORT)}
    ]
    ran = CliRunner().invoke(main, arguments, env={"DATABASE_URL": "postgresql://127.0.0.1:1/none", "SOURCES_FILE": ""})
    assert ran.exit_code == 1
    assert "the database is not reachable" in ran.output


@pytest.mark.parametrize("field", ["source", "since", "until", "conversation"])
def test_the_kubelet_finds_no_variable_in_what_a_person_wrote(field: str) -> None:
    made = replays.replay_job(replay(**{field: "$(DATABASE_URL)"}), HERE)
    [argument] = [each for each in made["spec"]["template"]["spec"]["containers"][0]["args"] if "DATABASE" in each]
    assert argument == f"--{field}=$$(DATABASE_URL)"


def test_a_job_goes_with_its_replay_and_is_a_pod_of_the_template() -> None:
    made = replays.replay_job(replay(), HERE)
    assert made["metadata"]["ownerReferences"][0]["uid"] == "1"
    assert made["spec"]["template"]["metadata"] == TEMPLATE["metadata"]
    assert "args" not in TEMPLATE["spec"]["containers"][0]


def test_an_erasure_is_of_one_object_not_of_its_name() -> None:
    names = set()
    for uid in ("1" * 36, "2" * 36):
        made = replays.erasure_job({"metadata": {"name": "s" * 63, "uid": uid}}, HERE)
        names.add(made["metadata"]["name"])
        assert len(made["metadata"]["name"]) <= 63
    assert len(names) == 2


def test_its_progress_is_told_and_its_end() -> None:
    pending = replays.replay_status(replay(), None, [], NOW)
    assert pending["phase"] == "Pending"
    running = replays.replay_status(replay(pending), {}, [report(10, 4, **{"202_accepted": 4})], NOW)
    assert (running["phase"], running["total"], running["sent"]) == ("Running", 10, 4)
    silent = replays.replay_status(replay(running), {}, [], NOW)
    assert silent["sent"] == 4
    ended = replays.replay_status(replay(running), job("Complete"), [report(10, 10, **{"202_accepted": 10})], NOW)
    assert (ended["phase"], ended["completedAt"]) == ("Succeeded", "2026-01-01T00:00:00Z")
    assert ended["conditions"][0]["status"] == "True"
    assert replays.is_over(replay(ended))
    failed = replays.replay_status(replay(running), job("Failed"), [], NOW)
    assert (failed["phase"], failed["sent"]) == ("Failed", 4)


def test_a_pod_that_went_on_for_another_counts_what_that_had_done() -> None:
    said = replays.replay_status(replay(), {}, [report(10, 4, ok=4), report(6, 1, ok=1)], NOW)
    assert (said["total"], said["sent"], said["answers"]) == (10, 5, {"ok": 5})


def test_what_was_rejected_again_is_told() -> None:
    said = replays.replay_status(replay(), job("Complete"), [report(2, 2, **{"202_held": 1, "400_x": 1})], NOW)
    assert said["conditions"][0]["reason"] == "SomeRefused"
