"""One request's trouble is its own."""

from __future__ import annotations

from collections.abc import Sequence

from realmate.http_server.isolation import isolated
from realmate.http_server.rejections import FAILED
from realmate.http_server.request import Request


def request(body: bytes) -> Request:
    return Request("POST", "/", "", body, "some-id", 0.0, {})


def lengths(requests: Sequence[Request]) -> list[int]:
    if any(each.body == b"guilty" for each in requests):
        raise ZeroDivisionError
    return [len(each.body) for each in requests]


def test_what_goes_well_is_done_once() -> None:
    assert isolated(lengths, [request(b"a"), request(b"bb")]) == [1, 2]


def test_the_guilty_request_fails_alone_and_the_order_is_kept() -> None:
    requests = [request(b"a"), request(b"guilty"), request(b"ccc"), request(b"guilty")]
    assert isolated(lengths, requests) == [1, FAILED, 3, FAILED]
