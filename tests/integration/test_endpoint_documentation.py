"""docs/endpoints.md as a person pastes it: the receiver, the file of sources, `realmate up`, a sample, and events."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from local_up import Up, up
from realmate.local.ports import free_port
from realmate.local.postgres import running_url
from receivers import until
from signatures import SECRET

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "endpoints.md"


def pasted(language: str, directory: Path, name: str, port: int) -> Path:
    """Return a file with the first block of that language, for another port."""
    text = re.findall(rf"```{language}\n(.+?)```", DOCUMENTATION.read_text(), re.DOTALL)[0]
    path = directory / name
    path.write_text(text.replace(":3000", f":{port}"))
    return path


def test_the_receiver_is_short_enough_to_be_read(tmp_path: Path) -> None:
    program = pasted("python", tmp_path, "receiver.py", 3000).read_text().splitlines()
    assert len([line for line in program if line]) <= 20


def test_whoever_pastes_it_sees_the_sample_and_the_conversation(tmp_path: Path) -> None:
    port, output = free_port(), tmp_path / "received"
    program = pasted("python", tmp_path, "receiver.py", port)
    sources = pasted("toml", tmp_path, "sources.toml", port)
    named = {"HERE_SECRET": SECRET, "SOURCES_FILE": str(sources)}
    with output.open("wb") as file:
        command = [sys.executable, str(program), SECRET, str(port)]
        receiver = subprocess.Popen(command, stdout=file, stderr=subprocess.DEVNULL)
    try:
        with up(tmp_path / "data", HERE_SECRET=SECRET, SOURCES_FILE=sources) as running:
            _play(running, named, output)
    finally:
        receiver.kill()
        receiver.wait()


def _play(running: Up, named: dict[str, str], output: Path) -> None:
    def realmate(*arguments: str) -> str:
        command = [sys.executable, "-m", "realmate", *arguments]
        database = {"REALMATE_DATA_DIR": str(output.parent / "data")}
        environment = os.environ | named | database
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout

    assert len(running.children("deliveries")) == 1
    until(lambda: running_url(output.parent / "data" / "postgres"))
    until(lambda: '"delivering"' in realmate("endpoints", "list", "--json"))
    assert "status 204" in realmate("endpoints", "test", "here")
    realmate("send", "--url", running.url, "--say", "Oi")
    until(lambda: "conversation.closed" in output.read_text())
    sample, *played = re.findall(r"^(conversation|message|reply)\.(\w+)", output.read_text(), re.MULTILINE)
    opened, closed = ("conversation", "opened"), ("conversation", "closed")
    assert sample == opened
    assert played == [opened, ("message", "received"), ("reply", "created"), closed]
    assert re.search(r"^message.received \S+ Oi$", output.read_text(), re.MULTILINE)
    assert "deliveries" in running.output
