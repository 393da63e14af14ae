"""Metrics in a process of their own: prometheus_client chooses its values when it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

OBSERVE_IN_BOTH_WAYS = """
from prometheus_client import Histogram
from realmate.runtime.exposition import observe_all, render

values = [0.5, 1, 1.5, 2, 2, 3, 1e9, 0, -1]
one_by_one, at_once = (Histogram(name, "", ["route"], buckets=(1, 2, 4)).labels("/") for name in ("ours", "theirs"))
for value in values:
    one_by_one.observe(value)
observe_all(at_once, values[:4])
observe_all(at_once, values[4:])
ours, theirs = (
    [line for line in render().decode().splitlines() if line.startswith(name) and "_created" not in line]
    for name in ("ours", "theirs")
)
assert len(ours) == 6, ours
assert [line.replace("ours", "theirs", 1) for line in ours] == theirs, (ours, theirs)
"""


@pytest.mark.parametrize("of_many_processes", [False, True])
def test_observing_all_at_once_is_observing_each(tmp_path: Path, *, of_many_processes: bool) -> None:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)} if of_many_processes else {}

    subprocess.run([sys.executable, "-c", OBSERVE_IN_BOTH_WAYS], env=os.environ | environment, check=True)


SHOW_A_RENAMED_COUNTER = """
from realmate.runtime.exposition import render
from realmate.webhook.metrics import REJECTED_SIGNATURES

REJECTED_SIGNATURES.labels("shop", "expired").inc(3)
print(render().decode())
"""


@pytest.mark.parametrize("of_many_processes", [False, True])
def test_a_renamed_metric_comes_under_its_former_name_too(tmp_path: Path, *, of_many_processes: bool) -> None:
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)} if of_many_processes else {}
    command = [sys.executable, "-c", SHOW_A_RENAMED_COUNTER]
    shown = subprocess.run(command, env=os.environ | environment, check=True, capture_output=True, text=True).stdout
    for name in ("realmate_webhook_rejected_signatures", "realmate_webhook_refused_signatures"):
        assert f'{name}_total{{reason="expired",source="shop"}} 3.0' in shown
