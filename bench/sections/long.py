"""A message to a very long conversation, beside one to a new conversation: one sender, in turns."""

from __future__ import annotations

import realmate_client
import stored
import wrk
from bench import Bench, Options, started
from findings import Findings
from measurement import Measurement, cpu, kind, ratio
from outcome import Load

MESSAGES = 100_000
TURNS = 8
TURN_S = 2
"""Short turns, so that whatever else happens on the machine hits both. Some 1,000 events each."""
OF_LONG, OF_NEW = "long conversation", "new conversation"
LONG, NEW = 1, 2
"""Numbers of conversations; the new ones are this and those after it."""


def find(options: Options) -> Findings:
    with started(options) as bench:
        findings = Findings(bench.postgres)
        print(f"  storing a conversation of {MESSAGES:,} messages ...", flush=True)
        stored.conversations(bench.database, LONG, LONG, MESSAGES)
        _messages_to(bench, LONG, options.warm_up_s or 1)
        for turn in range(1, TURNS + 1):
            findings.measurements.append(_turn(bench, turn, OF_LONG, LONG))
            realmate_client.open_conversation(bench.url, stored.conversation_id(NEW + turn))
            findings.measurements.append(_turn(bench, turn, OF_NEW, NEW + turn))
    of, to = kind(OF_LONG, connections=1), kind(OF_NEW, connections=1)
    for name, figure in (("p50", _p50), ("CPU", cpu)):
        if against_new := ratio(findings.measurements, of, to, figure):
            findings.figures[f"{name}, x a new one"] = against_new
    return findings


def _turn(bench: Bench, turn: int, what: str, number: int) -> Measurement:
    print(f"  turn {turn}/{TURNS}  {what:18} ", end="", flush=True)
    measurement = bench.watch(what, {"connections": 1}, lambda: _messages_to(bench, number, TURN_S), run=turn)
    print(f"p50 {measurement.load.latency_ms['p50']:.2f} ms", flush=True)
    return measurement


def _messages_to(bench: Bench, number: int, seconds: int) -> Load:
    return wrk.post_messages(bench.url, connections=1, seconds=seconds, first=number, count=1)


def _p50(measurement: Measurement) -> float:
    return measurement.load.latency_ms["p50"]
