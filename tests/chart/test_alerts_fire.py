"""Each alert fires when it should and only then: the chart's own rules, run by promtool over series made up here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from prometheus import alert_rules, promtool
from rendered import CHART, NAMESPACE, RELEASE

MINUTES = 40
"""Each series has a sample every 30 s for so long; the test looks at the alert at the end."""

Series = dict[str, str]
"""Values in promtool's notation, by the series' name with its own labels."""


class Case(NamedTuple):
    fires: tuple[Series, ...]
    silent: tuple[Series, ...]


def rising(per_minute: int) -> str:
    return f"0+{per_minute / 2:g}x{2 * MINUTES}"


def steady(value: float) -> str:
    return f"{value:g}x{2 * MINUTES}"


def new(value: int, *, minutes_ago: int) -> str:
    """A counter that is there since something happened for the first time."""
    before = 2 * (MINUTES - minutes_ago)
    return f"_x{before} {value}x{2 * minutes_ago}"


REQUESTS = 'realmate_http_requests_total{{route="{route}", status="{status}"}}'.format
WEBHOOK_OK, WEBHOOK_BAD = (REQUESTS(route="/webhook/<source>/", status=status) for status in (202, 503))
READ_OK, READ_BAD = (REQUESTS(route="/conversations/<id>/", status=status) for status in (200, 503))
HERE = {f'realmate_http_connections{{pod="{RELEASE}-{name}-1"}}': steady(1) for name in ("webhook", "conversations")}
QUERY = f'realmate_http_connections{{pod="{RELEASE}-query-1"}}'
OVERDUE, ENDPOINT_PAUSED = (f'realmate_endpoint_{what}{{endpoint="crm"}}' for what in ("overdue_seconds", "paused"))
STUCK = 'realmate_timer_last_success_timestamp_seconds{timer="sweep"}'
UNNUMBERED, FEED_OPEN = "realmate_feed_unnumbered_seconds", "realmate_feed_open"
SWEEP = 'realmate_sweep_set_aside_total{source="shop"}'
FOREIGN = 'realmate_transport_dropped_messages_total{what="reply", reason="signature"}'
SIGNATURES = 'realmate_webhook_rejected_signatures_total{source="shop", reason="signature"}'
UNPUBLISHED, PUBLISHED = (f'realmate_operator_sources{{reason="{reason}"}}' for reason in ("Invalid", "Ready"))

CASES = {
    "RealmateBatchDeadLetter": Case(
        fires=({"realmate_transport_dead_letters_total": "0x60 1x20"},),
        silent=({"realmate_transport_dead_letters_total": steady(3)},),
    ),
    "RealmateConversationSetAside": Case(
        fires=({SWEEP: rising(1)}, {SWEEP: new(1, minutes_ago=5)}),
        silent=({SWEEP: steady(4)}, {SWEEP: new(1, minutes_ago=25)}),
    ),
    "RealmateDeliveriesLate": Case(
        fires=({OVERDUE: steady(400)},),
        silent=({OVERDUE: steady(200)}, {OVERDUE: "0x70 400x10", ENDPOINT_PAUSED: steady(1)}),
    ),
    "RealmateEndpointPaused": Case(
        fires=({ENDPOINT_PAUSED: steady(1)},),
        silent=({ENDPOINT_PAUSED: steady(0)}, {ENDPOINT_PAUSED: "0x70 1x10"}),
    ),
    "RealmateFileBroken": Case(
        fires=tuple({f"realmate_{file}_file_broken": steady(1)} for file in ("sources", "tokens", "transport_keys")),
        silent=({f"realmate_{file}_file_broken": steady(0) for file in ("sources", "tokens", "transport_keys")},),
    ),
    "RealmateForeignMessages": Case(
        fires=({FOREIGN: rising(2)}, {FOREIGN: new(7, minutes_ago=8)}),
        silent=({FOREIGN: steady(7)}, {FOREIGN: new(7, minutes_ago=30)}),
    ),
    "RealmateIntakeRejects": Case(
        fires=({WEBHOOK_OK: rising(90), WEBHOOK_BAD: rising(10)},),
        silent=({WEBHOOK_OK: rising(98), WEBHOOK_BAD: rising(2)}, {READ_OK: rising(1), READ_BAD: rising(99)}),
    ),
    "RealmateLimitsPerProcess": Case(
        fires=({"realmate_limits_per_process": steady(1)},),
        silent=({"realmate_limits_per_process": steady(0)}, {"realmate_limits_per_process": "0x70 1x10"}),
    ),
    "RealmateOperatorStuck": Case(
        fires=({"realmate_operator_last_reconcile_timestamp_seconds": steady(60)},),
        silent=({"realmate_operator_last_reconcile_timestamp_seconds": "0+30x80"},),
    ),
    "RealmateReadersFail": Case(
        fires=({READ_OK: rising(90), READ_BAD: rising(10)},),
        silent=({READ_OK: rising(98), READ_BAD: rising(2)}, {WEBHOOK_OK: rising(1), WEBHOOK_BAD: rising(99)}),
    ),
    "RealmateRepliesLate": Case(
        fires=({"realmate_sweep_overdue_seconds": steady(9)},),
        silent=({"realmate_sweep_overdue_seconds": steady(1)},),
    ),
    "RealmateResponderCircuitOpen": Case(
        fires=({'realmate_responder_circuit_open{source="shop"}': steady(1)},),
        silent=({'realmate_responder_circuit_open{source="shop"}': steady(0)},),
    ),
    "RealmateServiceAbsent": Case(
        fires=(HERE, HERE | {QUERY: f"1x20 _x{2 * MINUTES - 20}"}),
        silent=(HERE | {QUERY: steady(0)},),
    ),
    "RealmateSignaturesRejected": Case(
        fires=({SIGNATURES: rising(30)},),
        silent=({SIGNATURES: rising(2)}, {SIGNATURES: steady(900)}),
    ),
    "RealmateSourceNotPublished": Case(
        fires=({UNPUBLISHED: steady(1)}, {UNPUBLISHED.replace("sources", "endpoints"): steady(1)}),
        silent=({UNPUBLISHED: steady(0), PUBLISHED: steady(9)},),
    ),
    "RealmateFeedStopped": Case(
        fires=({UNNUMBERED: steady(30), FEED_OPEN: steady(1)}, {UNNUMBERED: steady(0), FEED_OPEN: steady(0)}),
        silent=({UNNUMBERED: steady(1), FEED_OPEN: steady(1)},),
    ),
    "RealmateTimerStuck": Case(
        fires=({STUCK: steady(60)},),
        silent=({STUCK: "0+30x80"},),
    ),
}


def test_each_alert_has_a_case() -> None:
    assert CASES.keys() == {path.stem for path in CHART.glob("alerts/*.yaml")}


@pytest.mark.parametrize("alert", CASES)
def test_it_fires_when_it_should_and_only_then(alert: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(json.dumps(alert_rules()))
    case = CASES[alert]
    tests = [_test(alert, series, fires=True) for series in case.fires]
    tests += [_test(alert, series, fires=False) for series in case.silent]
    tests += [
        _test(alert, series, fires=False, namespace="of-somebody-else") for series in case.fires if alert != ABSENT
    ]
    (tmp_path / "tests.yaml").write_text(json.dumps({"rule_files": ["rules.yaml"], "tests": tests}))
    promtool("test", "rules", tmp_path / "tests.yaml")


ABSENT = "RealmateServiceAbsent"
"""This alert fires for pods of another namespace, too: it sees none of its own."""


def _test(alert: str, series: Series, *, fires: bool, namespace: str = NAMESPACE) -> dict[str, Any]:
    return {
        "interval": "30s",
        "input_series": [{"series": _of_pod(name, namespace), "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})',
                "eval_time": f"{MINUTES}m",
                "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
            }
        ],
    }


def _of_pod(name: str, namespace: str) -> str:
    """The series as a pod of this release has it, unless it says which."""
    metric, _, own = name.rstrip("}").partition("{")
    pod = "" if "pod=" in own else f'pod="{RELEASE}-webhook-1"'
    labels = [f'namespace="{namespace}"', *filter(None, [pod, own])]
    return f"{metric}{{{', '.join(labels)}}}"
