"""The memory of processes, sampled while something else goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psutil

from findings import Sample

MIB = 1024 * 1024
KINDS = ("rss", "pss", "uss")


@contextmanager
def sampled(processes: Mapping[str, psutil.Process], interval_s: float) -> Iterator[list[Sample]]:
    """Samples are added to the list every `interval_s` until the end of the block, where a failure is raised."""
    samples: list[Sample] = []
    ended = threading.Event()
    started_at = time.monotonic()

    def sample() -> None:
        while not ended.wait(interval_s):
            mib = {name: _family_mib(process) for name, process in processes.items()}
            samples.append(Sample(time.monotonic() - started_at, mib))

    with ThreadPoolExecutor(max_workers=1) as executor:
        sampling = executor.submit(sample)
        try:
            yield samples
        finally:
            ended.set()
        sampling.result()


def _family_mib(process: psutil.Process) -> dict[str, float]:
    """Of a process and its living descendants: Postgres has one for each connection."""
    total = dict.fromkeys(KINDS, 0.0)
    for each in (process, *process.children(recursive=True)):
        try:
            memory = each.memory_full_info()
        except psutil.NoSuchProcess:
            if each is process:
                raise
            continue
        for name in KINDS:
            total[name] += getattr(memory, name) / MIB
    return total
