"""A batch of requests is not the unit of failure: what goes wrong with one of them concerns no other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from realmate.http_server.rejections import FAILED
from realmate.http_server.request import Request
from realmate.wire.responses import Response

T = TypeVar("T")

log = structlog.get_logger(__name__)


def isolated(work: Callable[[Sequence[Request]], Sequence[T]], requests: Sequence[Request]) -> list[T | Response]:
    """Return what `work` makes of each request, in order. It must be harmless to do it twice.

    If it fails for all of them together, it is done for each alone. The one that still fails gets a 503, and a line in
    the log.
    """
    try:
        return [*work(requests)]
    except Exception as error:
        if len(requests) == 1:
            log.exception("request failed", request_id=requests[0].request_id)
            return [FAILED]
        log.warning("batch failed; each request is tried alone", requests=len(requests), reason=type(error).__name__)
    return [result for request in requests for result in isolated(work, [request])]
