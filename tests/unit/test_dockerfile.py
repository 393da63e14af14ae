"""What the Dockerfile promises and can be read without building it."""

from __future__ import annotations

import json
import re
import tomllib
from itertools import pairwise
from pathlib import Path

from realmate.cli import SERVICE_NAMES
from realmate.console.pages import BUILT
from realmate.runtime.settings import Settings

ROOT = Path(__file__).parents[2]
PAGE = "services/realmate/console/page"
INSTRUCTIONS = [
    line.split(maxsplit=1)
    for line in (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]
STAGES = [index for index, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM"]


def stage(name: str) -> list[list[str]]:
    """Return the instructions of a stage; its FROM is the first."""
    [found] = [
        INSTRUCTIONS[start:end] for start, end in pairwise(STAGES) if INSTRUCTIONS[start][1].endswith(f"AS {name}")
    ]
    return found


PRODUCTION = stage("production")


def arguments(word: str, instructions: list[list[str]] = INSTRUCTIONS) -> list[str]:
    return [rest.strip() for name, rest in instructions if name == word]


STAGE_NAMES = {rest.rpartition(" AS ")[2] for rest in arguments("FROM") if " AS " in rest}


def bases(instructions: list[list[str]]) -> set[str]:
    """Return what the stages begin with, images and other stages."""
    return {rest.removeprefix("--platform=$BUILDPLATFORM ").split()[0] for rest in arguments("FROM", instructions)}


def test_every_base_has_an_exact_tag() -> None:
    tags = dict(rest.split("=") for rest in arguments("ARG"))
    assert re.fullmatch(r"3\.\d+-slim-\w+", tags["PYTHON"])
    assert re.fullmatch(r"\d+-\w+-slim", tags["NODE"])
    assert bases(INSTRUCTIONS) - STAGE_NAMES == {"python:${PYTHON}", "node:${NODE}"}


def test_dependencies_are_the_tested_ones() -> None:
    installs = [run for run in arguments("RUN") if " install " in run]
    assert installs
    assert all(re.search(r"-c \S*constraints.txt", run) or "--no-deps" in run for run in installs)


def test_what_is_built_where_no_stage_is_named_is_production() -> None:
    assert INSTRUCTIONS[-1] == ["FROM", "production"]


def test_production_installs_nothing_and_runs_as_a_number_that_is_not_root() -> None:
    assert not re.search(r"\b(pip|apt-get|curl)\b", " ".join(arguments("RUN", PRODUCTION)))
    (user,) = arguments("USER", PRODUCTION)
    uid, gid = user.split(":")
    assert int(uid) > 0
    assert int(gid) > 0
    assert f"--uid {uid}" in " ".join(arguments("RUN", PRODUCTION))  # kopf asks for the name of its own uid


def test_signals_reach_the_process_because_no_shell_stands_between() -> None:
    (entrypoint,) = arguments("ENTRYPOINT", PRODUCTION)
    assert json.loads(entrypoint) == ["realmate"]
    (command,) = arguments("CMD", PRODUCTION)
    assert isinstance(json.loads(command), list)


def test_what_it_puts_into_the_environment_is_read() -> None:
    of_python_and_the_shell = {"PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"}
    names = set(re.findall(r"(\w+)=", " ".join(arguments("ENV", PRODUCTION)))) - of_python_and_the_shell
    assert names == {"HOST", "PORT"}
    assert {name.lower() for name in names} <= Settings.model_fields.keys()


IGNORED = (ROOT / ".dockerignore").read_text().splitlines()
SENT = {line.removeprefix("!") for line in IGNORED if line.startswith("!")}


def test_the_builder_gets_what_is_copied_and_nothing_else() -> None:
    assert "*" in IGNORED
    sources = {source for rest in arguments("COPY") if not rest.startswith("--from") for source in rest.split()[:-1]}
    assert {Path(source).parts[0] for source in sources} == SENT
    assert all((ROOT / source).exists() for source in sources)


def test_nothing_that_is_built_here_goes_into_the_image() -> None:
    """An old page of this machine would lie among the new one's files."""
    built = {PAGE, "console/dist", "console/build.log", "**/node_modules", "**/__pycache__"}
    last_sent = max(IGNORED.index(f"!{name}") for name in SENT)
    assert built <= set(IGNORED[last_sent + 1 :])  # the last line that fits a file decides about it
    assert f"/{PAGE}/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_image_has_the_console_s_page_and_no_node() -> None:
    page = stage("page")
    assert bases(page) == {"node:${NODE}"}
    assert arguments("RUN", page) == ["npm ci", "npm run build"]
    assert "console/package-lock.json" in arguments("COPY", page)[0]
    *_, copy, install = stage("application")
    assert copy == ["COPY", f"--from=page /build/dist {PAGE}"]
    assert " install " in install[1]
    assert ROOT / PAGE == BUILT
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert hatch["artifacts"] == [PAGE]
    assert not any("--from=page" in rest for rest in arguments("COPY", PRODUCTION))


def test_the_node_of_the_image_is_one_that_the_page_s_packages_are_for() -> None:
    node = int(dict(rest.split("=") for rest in arguments("ARG"))["NODE"].split("-")[0])
    wanted = json.loads((ROOT / "console/package.json").read_text())["engines"]["node"]
    assert node > int(wanted.removeprefix(">=").split(".")[0])


def test_what_runs_by_itself_is_every_service_there_is() -> None:
    (command,) = arguments("CMD", PRODUCTION)
    assert json.loads(command) == ["run", *SERVICE_NAMES]


def test_it_installs_by_hash_the_versions_that_are_tested() -> None:
    locked = dict(re.findall(r"^(\S+?)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    tested = dict(re.findall(r"^(\S+?)==(\S+)", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    tested = {canonical(name): version for name, version in tested.items()}
    assert {canonical(name): version for name, version in locked.items()}.items() <= tested.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["operator"]]
    assert {canonical(re.split("[<>=;]", each)[0]) for each in wanted} <= {canonical(name) for name in locked}


def test_the_licence_of_each_package_in_it_is_listed() -> None:
    locked = re.findall(r"^(\S+?)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    listed = re.findall(r"^\| (\S+) +\| (\S+) +\| (.+?) +\|", (ROOT / "docs/licences.md").read_text(), re.MULTILINE)
    assert {(canonical(name), version) for name, version in locked} <= {
        (canonical(name), version) for name, version, _ in listed
    }
    assert [name for name, _, licence in listed if licence == "UNKNOWN"] == []


def canonical(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()
