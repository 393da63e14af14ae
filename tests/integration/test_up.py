"""`realmate up`, from outside: one command gives the whole service, and takes all of it away again."""

from __future__ import annotations

import http.client
import json
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
import requests

from local_up import START_S, STOP_S, UP, Up, environment, roles_at_work, up
from realmate.local.ports import free_port
from realmate.local.valkey import Valkey
from realmate.runtime.database_readiness import SCHEMA_REVISION


def fails(directory: Path, **settings: object) -> str:
    """What `realmate up` writes to stderr when it cannot start: one line."""
    settings.setdefault("PORT", free_port())
    done = subprocess.run(
        UP, env=environment(directory, **settings), capture_output=True, text=True, timeout=START_S, check=False
    )
    assert done.returncode == 1, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def assert_gone(family: list[psutil.Process], within_s: float) -> None:
    _, alive = psutil.wait_procs(family, timeout=within_s)
    assert not alive, [member.cmdline() for member in alive]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One for the tests that leave it running."""
    with up(tmp_path_factory.mktemp("up") / "data") as installation:
        yield installation


def test_each_service_is_logged_in_as_itself(tmp_path: Path) -> None:
    with up(tmp_path / "data") as running:
        assert running.works()
        assert roles_at_work(tmp_path / "data") == {
            (f"realmate-conversations/{SCHEMA_REVISION}", "realmate_writer"),
            ("realmate-query", "realmate_reader"),
        }


def test_it_serves_everything_on_one_port(running: Up) -> None:
    assert requests.get(f"{running.url}/healthz", timeout=5).ok
    assert requests.get(f"{running.url}/readyz", timeout=5).ok
    assert running.knows(running.open_conversation())


def test_the_metrics_of_all_processes_are_on_the_one_port(running: Up) -> None:
    running.open_conversation()
    text = requests.get(f"{running.url}/metrics", timeout=5).text
    assert re.search(r'^realmate_events_total\{[^}]*type="NEW_CONVERSATION"[^}]*\} [1-9]', text, re.MULTILINE), text


def test_the_three_lines_to_try_work_as_they_are_printed(running: Up) -> None:
    lines = [line.strip() for line in running.output.splitlines() if line.strip().startswith("curl ")]
    answers = [
        subprocess.run(["curl", "-s", *shlex.split(line)[1:]], capture_output=True, text=True, check=True).stdout
        for line in lines
    ]
    assert [json.loads(answer)["status"] for answer in answers] == ["created", "accepted", "OPEN"]


def test_metrics_may_have_a_port_of_their_own_that_tells_of_all_processes(tmp_path: Path) -> None:
    admin_port = free_port()
    with up(tmp_path / "data", ADMIN_PORT=admin_port) as running:
        running.open_conversation()
        assert requests.get(f"{running.url}/metrics", timeout=5).status_code == http.client.NOT_FOUND
        metrics = requests.get(f"http://127.0.0.1:{admin_port}/metrics", timeout=5).text
        assert "realmate_http_requests_total" in metrics  # the webhook's
        assert "realmate_events_total" in metrics  # the conversations'


def test_it_tells_what_runs_where(running: Up) -> None:
    for member in psutil.Process(running.process.pid).children():
        assert f"pid {member.pid} " in running.output, member
    assert running.url in running.output
    logs = re.findall(r" log (\S+)", running.output)
    assert len(logs) == 4
    assert all(Path(log).is_file() for log in logs)


@pytest.mark.parametrize("words", [("conversations",), ("webhook", "query")])
def test_a_service_that_dies_is_started_again(running: Up, words: tuple[str, ...]) -> None:
    running.kill_child(*words)
    running.wait_until(running.is_ready)
    running.wait_until(running.works)


@pytest.mark.parametrize("name", ["postgres", "valkey-server"])
def test_a_store_that_dies_is_started_again_with_its_rows(running: Up, name: str) -> None:
    conversation_id = running.open_conversation()
    running.kill_child(name)
    running.wait_until(running.works)  # not `is_ready`: readiness may not have noticed the death yet
    assert running.knows(conversation_id)


def test_a_second_one_on_the_same_directory_is_rejected(running: Up) -> None:
    directory = Path(re.search(r"^ *data +(\S+)$", running.output, re.MULTILINE)[1])  # type: ignore[index]
    assert "another `realmate up` uses" in fails(directory)
    assert running.is_ready()


def test_sigterm_stops_everything_and_leaves_no_process(tmp_path: Path) -> None:
    with up(tmp_path / "data") as installation:
        family = installation.family
        assert len(family) >= 5
        installation.process.terminate()
        assert installation.process.wait(STOP_S) == 0, installation.output
        assert_gone(family, within_s=0)


def test_data_survives_ctrl_c_and_a_restart(tmp_path: Path) -> None:
    with up(tmp_path / "data") as first:
        conversation_id = first.open_conversation()
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait(STOP_S) == 0, first.output
    with up(tmp_path / "data") as second:
        assert second.knows(conversation_id)


def test_a_signal_during_the_start_stops_it_too(tmp_path: Path) -> None:
    with up(tmp_path / "data", ready=False) as installation:
        installation.wait_until(lambda: len(installation.family) > 1)
        family = installation.family
        installation.process.terminate()
        assert installation.process.wait(STOP_S) == 0, installation.output
        assert_gone(family, within_s=STOP_S)


def test_an_echo_of_the_signal_does_not_disturb_the_stop(tmp_path: Path) -> None:
    """`make` forwards a SIGTERM that the whole process group got already."""
    with up(tmp_path / "data") as installation:
        installation.process.terminate()
        installation.wait_until(lambda: "Stopping" in installation.output)
        installation.process.terminate()
        assert installation.process.wait(STOP_S) == 0
        postgres_log = tmp_path / "data" / "postgres" / "postgres.log"
        assert "database system is shut down" in postgres_log.read_text()


def test_a_service_that_does_not_stop_is_killed_in_time(tmp_path: Path) -> None:
    with up(tmp_path / "data") as installation:
        family = installation.family
        [stuck] = installation.children("conversations")
        stuck.suspend()
        installation.process.terminate()
        assert installation.process.wait(STOP_S) == 0
        assert_gone(family, within_s=0)


def test_a_second_ctrl_c_does_not_wait(tmp_path: Path) -> None:
    with up(tmp_path / "data") as installation:
        family = installation.family
        [stuck] = installation.children("conversations")
        stuck.suspend()
        installation.process.send_signal(signal.SIGINT)
        installation.wait_until(lambda: "Stopping" in installation.output)
        installation.process.send_signal(signal.SIGINT)
        assert installation.process.wait(STOP_S) == 128 + signal.SIGINT
        assert_gone(family, within_s=STOP_S)


def test_a_kill_of_the_supervisor_leaves_no_process(tmp_path: Path) -> None:
    with up(tmp_path / "data") as installation:
        family = installation.family
        installation.process.kill()
        assert_gone(family, within_s=STOP_S)


def test_with_exit_with_parent_a_kill_of_the_parent_leaves_no_process(tmp_path: Path) -> None:
    """What `make run` relies on. The shell stands for make: it waits for the command, as make does."""
    command = ("/bin/sh", "-c", f"{shlex.join((*UP, '--exit-with-parent'))}; true")
    with up(tmp_path / "data", command=command) as installation:
        family = installation.family
        installation.process.kill()
        assert_gone(family, within_s=STOP_S)


def test_a_start_right_after_a_kill_finds_everything_again(tmp_path: Path) -> None:
    """It waits until the last process of the former has let go of the directory."""
    with up(tmp_path / "data") as first:
        conversation_id = first.open_conversation()
        first.process.kill()
        with up(tmp_path / "data") as second:
            assert second.knows(conversation_id)


def test_given_stores_are_used_and_left_alone(tmp_path: Path, database_url: str, valkey: Valkey) -> None:
    with up(tmp_path / "data", DATABASE_URL=database_url, REDIS_URL=valkey.url) as installation:
        conversation_id = installation.open_conversation()
        connection = psycopg2.connect(database_url)
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM conversations WHERE id = %s", [conversation_id])
            assert cursor.fetchone() == (1,)
        connection.close()
        assert not {"postgres", "valkey-server"} & {member.name() for member in installation.family}
        installation.process.terminate()
        assert installation.process.wait(STOP_S) == 0
    assert valkey.running


def test_a_taken_port_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert f"port {port} is taken; choose another with PORT=" in fails(tmp_path / "data", PORT=port)


def test_an_unwritable_directory_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # root may write anywhere, but not below a file
    assert "REALMATE_DATA_DIR" in fails(tmp_path / "file" / "data")


def test_an_unreachable_database_is_told_in_one_line(tmp_path: Path) -> None:
    message = fails(tmp_path / "data", DATABASE_URL=f"postgresql://me:secret@127.0.0.1:{free_port()}/realmate")
    assert "DATABASE_URL" in message
    assert "refused" in message
    assert "secret" not in message


def test_an_unreachable_redis_is_told_in_one_line(tmp_path: Path, database_url: str) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    assert "REDIS_URL" in fails(tmp_path / "data", DATABASE_URL=database_url, REDIS_URL=url)


def test_a_wrong_setting_is_told_in_one_line(tmp_path: Path) -> None:
    assert "PORT" in fails(tmp_path / "data", PORT="eight thousand")
    assert "GROUP_WINDOW_S" in fails(tmp_path / "data", GROUP_WINDOW_S="-1")


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_an_unreachable_transport_is_told_in_one_line(tmp_path: Path, scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{free_port()}"
    assert "TRANSPORT_URL" in fails(tmp_path / "data", TRANSPORT_URL=url)
