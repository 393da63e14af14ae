"""Pages of GET /conversations/ out of a million: one reader, then 64; and the thousandth page beside the first."""

from __future__ import annotations

from collections.abc import Callable

import requests

import realmate_client
import wrk
from bench import Bench, Options, started
from findings import Findings
from measurement import Measurement, kind, ratio
from outcome import Load

CONVERSATIONS = 1_000_000
SOURCES = 10
PAGES = 1_000
CONNECTIONS = 64
TIMEOUT_S = 60
FIRST = "limit=50"
NEWEST, FAR = "newest", "page 1,000"
QUERIES = {NEWEST: FIRST, "open, 1 in 100": f"{FIRST}&status=OPEN", "in order of ids": f"{FIRST}&order=id"}
_SOURCES = "INSERT INTO sources (name) SELECT 'list' || n FROM generate_series(2, %(sources)s) AS n"
_CONVERSATIONS = """
    INSERT INTO conversations (id, source_id, status, last_seq, created_at, updated_at, active_at, settled_at)
    SELECT gen_random_uuid(), ids[1 + n %% cardinality(ids)], CASE WHEN n %% 100 = 0 THEN 1 ELSE 2 END, 1,
        at, at, at, CASE WHEN n %% 100 = 0 THEN NULL ELSE at END
    FROM generate_series(1, %(count)s) AS n, (SELECT array_agg(id) FROM sources) AS known (ids),
        LATERAL (SELECT now() - make_interval(secs => n)) AS moment (at)
"""
_MESSAGES = """
    INSERT INTO messages (id, source_id, conversation_id, seq, kind, content, "timestamp", arrived_at)
    SELECT gen_random_uuid(), source_id, id, 1, 1, 'Olá, quero alugar um apartamento.', now(), now() FROM conversations
"""


def find(options: Options) -> Findings:
    with started(options) as bench:
        findings = Findings(bench.postgres)
        _store(bench)
        with requests.Session() as session:
            for run in range(1, options.runs + 1):
                for name, query in QUERIES.items():
                    findings.measurements.append(_one_reader(bench, session, name, f"/conversations/?{query}", run))
                far = _page(bench, session)
                findings.measurements.append(_one_reader(bench, session, FAR, far, run))
                findings.measurements.append(_many_readers(bench, run))
    of, to = kind(FAR, readers=1), kind(NEWEST, readers=1)
    if proportion := ratio(findings.measurements, of, to, _p50):
        findings.figures[f"{FAR} over page 1, p50"] = proportion
    return findings


def _store(bench: Bench) -> None:
    print(f"  storing {CONVERSATIONS:,} conversations (a minute) ...", flush=True)
    bench.database.do(_SOURCES, {"sources": SOURCES})
    bench.database.do(_CONVERSATIONS, {"count": CONVERSATIONS})
    bench.database.do(_MESSAGES)
    for table in ("conversations", "messages"):
        bench.database.do(f"VACUUM ANALYZE {table}")
    bench.database.do("CHECKPOINT")


def _one_reader(bench: Bench, session: requests.Session, what: str, path: str, run: int) -> Measurement:
    return _told(
        bench, what, 1, run, lambda: realmate_client.get_again(session, bench.url + path, bench.options.seconds)
    )


def _many_readers(bench: Bench, run: int) -> Measurement:
    seconds = bench.options.seconds
    return _told(
        bench, NEWEST, CONNECTIONS, run, lambda: wrk.list_(bench.url, FIRST, connections=CONNECTIONS, seconds=seconds)
    )


def _told(bench: Bench, what: str, connections: int, run: int, load: Callable[[], Load]) -> Measurement:
    print(f"  run {run}/{bench.options.runs}  {what:18} {connections:>3} readers ", end="", flush=True)
    measurement = bench.watch(what, {"readers": connections}, load, run=run)
    print(f"{measurement.load.per_second:8,.0f}/s, p50 {_p50(measurement):.1f} ms", flush=True)
    return measurement


def _page(bench: Bench, session: requests.Session) -> str:
    """Return the path of the thousandth page."""
    path = f"/conversations/?{FIRST}"
    for _ in range(PAGES - 1):
        path = session.get(bench.url + path, timeout=TIMEOUT_S).json()["next"]
    return path


def _p50(measurement: Measurement) -> float:
    return measurement.load.latency_ms["p50"]
