"""What an event costs when the tables are full, beside empty ones: two installations, which take turns."""

from __future__ import annotations

from dataclasses import replace

import wrk
from bench import Bench, Options, started
from findings import Findings
from measurement import Measurement, cpu, kind, rate, ratio
from stored import MESSAGES_EACH, fill

CONNECTIONS = 64
NEW, OLD = "to new conversations", "to old conversations"
WARM_UP_S = 30
"""After a checkpoint the first change of a page writes its whole image to the WAL. In full tables that is every insert
for some ten seconds; a server that makes a checkpoint in fifteen minutes is not like that for long."""
STEPS = (10, 1)
"""Measured with a tenth of the messages stored, and with all of them."""


def find(options: Options) -> Findings:
    sizes = [options.messages // step for step in STEPS]
    told = replace(options, runs=options.runs * len(sizes), warm_up_s=max(options.warm_up_s, WARM_UP_S))
    with started(told) as empty, started(told) as full:
        findings = Findings(full.postgres)
        conversations = run = 0
        for size in sizes:
            first, conversations = conversations + 1, size // MESSAGES_EACH
            fill(full.database, first, conversations)
            for _ in range(options.runs):
                run += 1
                findings.measurements += [
                    empty.post(CONNECTIONS, run=run, what=NEW, stored=0),
                    full.post(CONNECTIONS, run=run, what=NEW, anew=False, stored=size),
                    _to_old(full, conversations, run=run, stored=size),
                ]
    to = kind(NEW, connections=CONNECTIONS, stored=0)
    for size in sizes:
        of = kind(NEW, connections=CONNECTIONS, stored=size)
        findings.compared.append((of, to))
        for name, figure in (("rate", rate), ("CPU", cpu)):
            if against_empty := ratio(findings.measurements, of, to, figure):
                findings.figures[f"{size:,} messages stored, {name} x empty"] = against_empty
    return findings


def _to_old(bench: Bench, conversations: int, *, run: int, stored: int) -> Measurement:
    return bench.measure(
        OLD,
        {"connections": CONNECTIONS, "stored": stored},
        lambda seconds: wrk.post_messages(
            bench.url, connections=CONNECTIONS, seconds=seconds, first=1, count=conversations
        ),
        run=run,
        anew=False,
    )
