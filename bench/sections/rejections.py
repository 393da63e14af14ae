"""Pages of GET /admin/rejections/ out of a million rejections, one reader, with each filter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial

import requests

import realmate_client
from bench import Bench, Options, started
from findings import Findings

ROWS = 1_000_000
SOURCES = 10
CODES = 8
TIMEOUT_S = 60
_SOURCES = "INSERT INTO sources (name) SELECT 'rejected' || n FROM generate_series(1, %(sources)s) AS n"
_REJECTIONS = """
    INSERT INTO rejections (source_id, at, code, detail, conversation_id, body, replayed_at, replay_status)
    SELECT ids[1 + n %% cardinality(ids)], now() - make_interval(secs => n), 'code_' || n %% %(codes)s,
        'data.id: must be a UUID', CASE WHEN n %% 3 = 0 THEN gen_random_uuid() END,
        convert_to('{"type": "NEW_MESSAGE", "timestamp": "2025-06-04T14:20:05Z", "data": {"id": "x"}}', 'UTF8'),
        CASE WHEN n %% 100 = 0 THEN now() END, CASE WHEN n %% 100 = 0 THEN 202 END
    FROM generate_series(1, %(count)s) AS n,
        (SELECT array_agg(id) FROM sources WHERE name LIKE 'rejected%%') AS known (ids)
"""


def find(options: Options) -> Findings:
    with started(options) as bench:
        findings = Findings(bench.postgres)
        _store(bench)
        with requests.Session() as session:
            for run in range(1, options.runs + 1):
                for name, query in queries(bench.url, session).items():
                    print(f"  run {run}/{options.runs}  {name:34} ", end="", flush=True)
                    path = f"{bench.url}/admin/rejections/?{query}"
                    load = partial(realmate_client.get_again, session, path, options.seconds)
                    measurement = bench.watch(name, {"readers": 1}, load, run=run)
                    print(f"p50 {measurement.load.latency_ms['p50']:.1f} ms", flush=True)
                    findings.measurements.append(measurement)
    return findings


def queries(url: str, session: requests.Session) -> dict[str, str]:
    """Return each filter alone, and some together, by what they are."""
    month_ago = (datetime.now(UTC) - timedelta(days=5)).isoformat().replace("+", "%2B")
    items = session.get(f"{url}/admin/rejections/?limit=200", timeout=TIMEOUT_S).json()["items"]
    conversation = next(item["conversation_id"] for item in items if item["conversation_id"])
    return {
        "newest": "",
        "source": "source=rejected1",
        "two sources": "source=rejected1&source=rejected2",
        "code": "code=code_1",
        "three codes": "code=code_1&code=code_2&code=code_3",
        "source and code": "source=rejected1&code=code_1",
        "until": f"until={month_ago}",
        "since": f"since={month_ago}",
        "conversation": f"conversation={conversation}",
        "replayed, 1 in 100": "replayed=true",
        "not replayed": "replayed=false",
        "source, code, until, not replayed": f"source=rejected1&code=code_1&until={month_ago}&replayed=false",
        "source and replayed": "source=rejected1&replayed=true",
        "a code that is not there": "code=nothing",
    }


def _store(bench: Bench) -> None:
    print(f"  storing {ROWS:,} rejections (a minute) ...", flush=True)
    bench.database.do(_SOURCES, {"sources": SOURCES})
    bench.database.do(_REJECTIONS, {"count": ROWS, "codes": CODES})
    bench.database.do("VACUUM ANALYZE rejections")
    bench.database.do("CHECKPOINT")
