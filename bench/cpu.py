"""CPU time by process, as the kernel counts it."""

from __future__ import annotations

import resource
from collections.abc import Mapping

import psutil


def cpu_seconds(processes: Mapping[str, psutil.Process]) -> dict[str, float]:
    """User and system time so far: of each process with its children, of the load generators that have ended (`load`),
    and of all else that this machine did (`others`), time stolen by its host included.
    """
    used = {name: _family_seconds(process) for name, process in processes.items()}
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    used["load"] = children.ru_utime + children.ru_stime
    return {**used, "others": _machine_seconds() - sum(used.values())}


def _family_seconds(process: psutil.Process) -> float:
    """Of a process, its living descendants, and (Linux) those it had: Postgres has one for each connection."""
    while True:
        own = process.cpu_times()
        children_s = sum(_own_seconds(child) for child in process.children(recursive=True))
        now = process.cpu_times()
        if (now.children_user, now.children_system) == (own.children_user, own.children_system):
            return float(now.user + now.system + now.children_user + now.children_system + children_s)
        # A child has just become one it had, and was counted twice or not at all.


def _own_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _machine_seconds() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice + getattr(times, "steal", 0) + getattr(times, "softirq", 0))
