"""The chart's alerts as it renders them, and Prometheus' own judge of them."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from needed import require_program
from rendered import Object, found, render


def alert_rules(**told: Any) -> Object:
    """The rule groups, as Prometheus reads them from a file; `told` are values of metrics.prometheusRule."""
    return rules_of({}, **told)


def rules_of(values: Object, **told: Any) -> Object:
    """The same of an installation with these values."""
    metrics = {"metrics": {"prometheusRule": {"enabled": True} | told}}
    spec: Object = found(render(values | metrics), "PrometheusRule", "")["spec"]
    return spec


def promtool(*arguments: str | Path) -> str:
    """Run promtool and return what it said. Raises AssertionError where it finds something wrong."""
    command = [require_program("promtool", package="prometheus"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
