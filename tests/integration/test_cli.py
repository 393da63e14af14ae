"""The command line, as a person types it: what it teaches, what it says when something is wrong, what it sends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil
import pytest

from realmate.cli import SERVICE_NAMES
from realmate.local.ports import free_port
from realmate.local.postgres import Postgres

TIMEOUT_S = 90


def realmate(*arguments: str, stdin: str = "", **settings: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "realmate", *arguments],
        input=stdin,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def environment(**settings: object) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_URL")}
    return inherited | {name: str(value) for name, value in settings.items()}


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """What stderr says of a failure for a person."""
    assert done.returncode == 1, done
    assert len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def started(settings: dict[str, str], *services: str) -> subprocess.Popen[str]:
    """A `realmate run` that has logged that it started; the rest of its log is in stderr."""
    process = subprocess.Popen(
        [sys.executable, "-m", "realmate", "run", *services], env=settings, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines: list[str] = []
    while '"started"' not in (line := process.stderr.readline()):
        assert line, "".join(lines)
        lines.append(line)
    return process


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a short window, so that its replies come soon."""
    directory = tmp_path_factory.mktemp("server")
    port = free_port()
    with (directory / "output").open("w+") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "realmate", "up"],
            env=environment(REALMATE_DATA_DIR=directory / "data", PORT=port, GROUP_WINDOW_S=1),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        give_up_at = time.monotonic() + TIMEOUT_S
        while "Ctrl-C stops" not in (text := (directory / "output").read_text()):
            assert process.poll() is None, text
            assert time.monotonic() < give_up_at, text
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        process.wait(TIMEOUT_S)


def test_help_teaches_the_first_steps() -> None:
    done = realmate("--help")
    assert done.returncode == 0
    for command in ("realmate up", "realmate send", "realmate migrate", "realmate run webhook"):
        assert command in done.stdout


@pytest.mark.parametrize("command", ["up", "migrate", "run", "send"])
def test_every_command_explains_itself(command: str) -> None:
    done = realmate(command, "--help")
    assert done.returncode == 0
    assert "Usage: " in done.stdout


def test_help_imports_no_framework() -> None:
    """It must be there at once, and `run` must be first to touch what eventlet patches."""
    code = (
        "import sys, realmate.cli; print(*{'eventlet', 'nameko', 'sqlalchemy', 'requests', 'redis'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_version_is_the_packages() -> None:
    assert realmate("--version").stdout.strip() == "realmate, version 0.1.0"


@pytest.mark.parametrize("arguments", [["fly"], ["run"], ["run", "kitchen"], ["send", "--say", "Oi", "-"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    assert realmate(*arguments).returncode == 2


def test_the_names_to_run_are_those_the_runner_knows() -> None:
    code = "from realmate import serve; print(*serve.SERVICES)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert tuple(done.stdout.split()) == SERVICE_NAMES


def test_migrate_says_what_it_did_and_is_safe_twice(tmp_path: Path) -> None:
    with Postgres(tmp_path) as server:
        first = realmate("migrate", DATABASE_URL=server.url)
        second = realmate("migrate", DATABASE_URL=server.url)
    assert "migrated: empty → " in first.stdout, first.stderr
    assert "up to date" in second.stdout


def test_migrate_waits_for_a_database_that_is_starting(tmp_path: Path) -> None:
    server = Postgres(tmp_path)
    with server:
        pass  # made, and stopped again: the next start is quick
    waiting = subprocess.Popen(
        [sys.executable, "-m", "realmate", "migrate", "--wait", "60"],
        env=environment(DATABASE_URL=server.url),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert waiting.stderr is not None
    assert "trying again" in waiting.stderr.readline()
    with server:
        waiting.communicate(timeout=TIMEOUT_S)
    assert waiting.returncode == 0


def test_migrate_without_a_database_is_told_in_one_line() -> None:
    assert "DATABASE_URL is not set" in one_line(realmate("migrate"))
    url = f"postgresql://me:secret@127.0.0.1:{free_port()}/realmate"
    message = one_line(realmate("migrate", "--wait", "0", DATABASE_URL=url))
    assert "refused" in message
    assert "secret" not in message


def test_run_on_a_taken_port_is_told_in_one_line(database_url: str, redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = realmate("run", "query", PORT=port, DATABASE_URL=database_url, REDIS_URL=redis_url, LOG_LEVEL="ERROR")
    assert f"port {port} is taken" in one_line(done)


def test_run_without_what_the_service_needs_is_told_in_one_line() -> None:
    assert "DATABASE_URL is not set" in one_line(realmate("run", "query", PORT=0, LOG_LEVEL="ERROR"))
    assert "REDIS_URL (or TRANSPORT_URL) is not set" in one_line(realmate("run", "webhook", PORT=0, LOG_LEVEL="ERROR"))


@pytest.mark.parametrize("services", [["webhook"], ["conversations"], ["query"], ["webhook", "query"]])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_idle_process_soon_with_exit_code_0(
    services: list[str], number: signal.Signals, database_url: str, redis_url: str
) -> None:
    process = started(environment(PORT=0, DATABASE_URL=database_url, REDIS_URL=redis_url), *services)
    process.send_signal(number)
    _, rest = process.communicate(timeout=10)
    assert process.returncode == 0, rest
    assert '"stopped"' in rest


def test_work_that_does_not_end_does_not_keep_a_process_alive(tmp_path: Path, redis_url: str) -> None:
    """The database hangs, so the sweep in hand never returns; the drain's time is up, and the process says so."""
    with Postgres(tmp_path) as server:
        assert realmate("migrate", DATABASE_URL=server.url).returncode == 0
        settings = environment(PORT=0, DATABASE_URL=server.url, REDIS_URL=redis_url, DRAIN_TIMEOUT_S=0)
        process = started(settings, "conversations")
        postmaster = psutil.Process(server.pid)
        postmaster.suspend()  # first: it must not fork another one meanwhile
        family = [postmaster, *postmaster.children()]
        for member in family[1:]:
            member.suspend()
        time.sleep(0.5)  # longer than the sweep's pause, shorter than its time limit: one is under way, and hangs
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=10)
        for member in family:
            member.resume()
    assert process.returncode == 1
    assert "did not end in time" in log


def test_send_plays_a_conversation(url: str) -> None:
    done = realmate("send", "--url", url)
    assert done.returncode == 0, done
    assert done.stdout.count("INBOUND") == 3
    assert done.stdout.count("OUTBOUND") == 1
    assert "Mensagens recebidas:" in done.stdout
    assert "CLOSED" in done.stdout
    assert "\x1b[" not in done.stdout, "no colours where no terminal is"


def test_send_says_what_it_is_told_to(url: str) -> None:
    done = realmate("send", "--url", url, "--say", "Oi", "--say", "Tem varanda?")
    assert done.returncode == 0, done
    assert done.stdout.count("INBOUND") == 2
    assert "Tem varanda?" in done.stdout


def test_send_shows_the_answer_to_each_line_of_a_file(url: str, tmp_path: Path) -> None:
    opening = json.dumps(
        {"type": "NEW_CONVERSATION", "timestamp": "2025-06-04T14:20:00Z", "data": {"id": str(uuid4())}}
    )
    (tmp_path / "events.jsonl").write_text(f"{opening}\n{opening}\nno json\n")
    done = realmate("send", "--url", url, str(tmp_path / "events.jsonl"))
    assert done.returncode == 1
    answers = [line.split(maxsplit=2) for line in done.stdout.splitlines()[:2]]
    assert [answer[:2] for answer in answers] == [["1", "NEW_CONVERSATION"], ["2", "NEW_CONVERSATION"]]
    assert "201" in answers[0][2]
    assert "400 conversation_exists" in answers[1][2]
    assert "400 invalid_json" in done.stdout.splitlines()[2]


def test_send_reads_stdin(url: str) -> None:
    opening = json.dumps(
        {"type": "NEW_CONVERSATION", "timestamp": "2025-06-04T14:20:00Z", "data": {"id": str(uuid4())}}
    )
    done = realmate("send", "--url", url, "-", stdin=opening)
    assert done.returncode == 0, done
    assert "1 sent: 1 answered 201" in done.stdout


def test_send_to_nobody_tells_how_to_start_a_server() -> None:
    assert "make run" in one_line(realmate("send", "--url", f"http://127.0.0.1:{free_port()}"))


def test_no_process_is_left_of_a_command_that_failed(tmp_path: Path) -> None:
    """A Postgres of other tests may make and end processes of its own meanwhile."""

    def ours() -> set[int]:
        found = set()
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if "realmate" in child.cmdline() or str(tmp_path) in " ".join(child.cmdline()):
                    found.add(child.pid)
        return found

    before = ours()
    realmate("up", PORT="none", REALMATE_DATA_DIR=tmp_path)
    assert ours() <= before
