"""What a source's settings add to an event: its signature, its limit, its idempotency key."""

from __future__ import annotations

import wrk
from bench import POST, Bench, Options, started
from findings import Findings
from measurement import Measurement, cpu, kind, ratio

CONNECTIONS = 64
KEY = "benchmark-benchmark-benchmark"
SOURCES = f"""
[sources.default]

[sources.limited.limit]
events_per_s = 1_000_000

[sources.signed.signing]
scheme = "x-hub-signature-256"
secrets = [{{ value = "{KEY}" }}]
"""
WAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    POST: ("/webhook/", ()),
    "limited": ("/webhook/limited/", ()),
    "signed": ("/webhook/signed/", ("signed", KEY)),
    "keyed": ("/webhook/", ("keyed",)),
}
"""By what is measured: where events are sent, and with which headers."""


def find(options: Options) -> Findings:
    with started(options, sources=SOURCES) as bench:
        findings = Findings(bench.postgres)
        for run in range(1, options.runs + 1):
            findings.measurements += [_post(bench, what, run=run) for what in WAYS]
    plain, *others = (kind(what, connections=CONNECTIONS) for what in WAYS)
    for of in others:
        findings.compared.append((of, plain))
        if more := ratio(findings.measurements, of, plain, cpu):
            findings.figures[f"{of[0]}, CPU x plain"] = more
    return findings


def _post(bench: Bench, what: str, *, run: int) -> Measurement:
    path, headers = WAYS[what]
    return bench.measure(
        what,
        {"connections": CONNECTIONS},
        lambda seconds: wrk.post_events(
            bench.url, connections=CONNECTIONS, seconds=seconds, path=path, headers=headers
        ),
        run=run,
    )
