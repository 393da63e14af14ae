"""GETs of a conversation, the same or one of many, beside pgbench selecting the same rows."""

from __future__ import annotations

import stored
import wrk
from bench import GET, PGBENCH_READ, Bench, Options, started
from findings import Findings
from measurement import Measurement, kind, ratio

CONNECTIONS = 64
COUNTS = (1, 1000)
"""From how many conversations each read takes one. Readers of the same one share what Realmate reads, others do not."""
MESSAGES = 20


def find(options: Options) -> Findings:
    with started(options) as bench:
        findings = Findings(bench.postgres)
        stored.conversations(bench.database, 1, max(COUNTS), MESSAGES)
        for run in range(1, options.runs + 1):
            for count in COUNTS:
                findings.measurements.append(_get(bench, count, run=run))
                if options.with_pgbench:
                    findings.measurements.append(bench.pgbench_reads(CONNECTIONS, count, run=run))
    for count in COUNTS:
        of, to = (kind(what, connections=CONNECTIONS, conversations=count) for what in (GET, PGBENCH_READ))
        if proportion := ratio(findings.measurements, of, to):
            findings.compared.append((of, to))
            findings.figures[f"one of {count:,}, x pgbench"] = proportion
    return findings


def _get(bench: Bench, count: int, *, run: int) -> Measurement:
    return bench.measure(
        GET,
        {"connections": CONNECTIONS, "conversations": count},
        lambda seconds: wrk.get(bench.url, connections=CONNECTIONS, seconds=seconds, count=count),
        run=run,
        anew=False,
    )
