"""How many events a second, with many senders each waiting for its answer; beside pgbench with the same statements."""

from __future__ import annotations

from bench import PGBENCH, PGBENCH_PIPELINED, POST, Bench, Options, started
from findings import Findings
from measurement import Measurement, kind, ratio
from pgbench import MAX_CLIENTS


def find(options: Options) -> Findings:
    with started(options) as bench:
        findings = Findings(bench.postgres)
        for run in range(1, options.runs + 1):
            findings.measurements += _in_turns(bench, run)
    for connections in options.connections:
        _compare(findings, connections)
    return findings


def _in_turns(bench: Bench, run: int) -> list[Measurement]:
    """Realmate, then what it is compared to: what else the machine does in that time hits both."""
    measurements = []
    clients_done = set()
    for connections in bench.options.connections:
        measurements.append(bench.post(connections, run=run))
        clients = min(connections, MAX_CLIENTS)
        if bench.options.with_pgbench and clients not in clients_done:
            clients_done.add(clients)
            measurements.append(bench.pgbench_events(clients, run=run))
            measurements.append(bench.pgbench_events(clients, run=run, pipelined=True))
    return measurements


def _compare(findings: Findings, connections: int) -> None:
    of = kind(POST, connections=connections)
    for what in (PGBENCH, PGBENCH_PIPELINED):
        to = kind(what, connections=min(connections, MAX_CLIENTS))
        if proportion := ratio(findings.measurements, of, to):
            findings.figures[f"{connections} connections, x {what}"] = proportion
            if what == PGBENCH:
                findings.compared.append((of, to))
