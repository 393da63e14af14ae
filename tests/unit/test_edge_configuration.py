"""The edge's configuration agrees with the services' settings: what they would take comes through, and in time."""

from __future__ import annotations

import json
import re
from pathlib import Path

from realmate.runtime.settings import Settings
from realmate.wire import responses

EDGE = Path(__file__).parents[2] / "edge"
CONFIGURATION = (EDGE / "haproxy.cfg").read_text()
DEFAULTS = {name: field.default for name, field in Settings.model_fields.items()}

HAPROXY_RESERVE_BYTES = 1024
"""tune.maxrewrite: what HAProxy keeps free of a buffer for headers that it adds."""


def directive(name: str) -> str:
    """What stands behind the directive; it must be there once."""
    (value,) = re.findall(rf"^ *{re.escape(name)} +(.+)$", CONFIGURATION, re.MULTILINE)
    return str(value)


LARGE_MESSAGE_BYTES = 32 * 1024
"""More than a person types at once."""


def test_a_message_that_a_person_types_fits_into_the_buffer_from_which_it_is_retried() -> None:
    request = DEFAULTS["http_max_head_bytes"] + LARGE_MESSAGE_BYTES + HAPROXY_RESERVE_BYTES
    assert int(directive("tune.bufsize")) >= request


def test_it_rejects_the_bodies_that_the_services_would_and_no_smaller_one() -> None:
    assert re.findall(r"req\.body_size gt (\d{2,})", CONFIGURATION) == [str(DEFAULTS["http_max_body_bytes"])]


def test_no_head_that_the_services_take_has_too_many_lines() -> None:
    shortest_line = len(b"a:\r\n")
    assert int(directive("tune.http.maxhdr")) * shortest_line >= DEFAULTS["http_max_head_bytes"]


def test_it_waits_longer_for_an_answer_than_a_service_does_for_a_verdict() -> None:
    timeouts_s = [float(each) for each in re.findall(r"^ *timeout server +(.+)s$", CONFIGURATION, re.MULTILINE)]
    assert len(timeouts_s) == 2  # that of the services, and the longer one of the console
    assert min(timeouts_s) > DEFAULTS["command_timeout_s"]


def test_what_it_says_without_a_service_are_problems_in_their_words() -> None:
    files = dict(re.findall(r"errorfile (\d+) (\S+)", CONFIGURATION))
    assert files.keys() == {"400", "404", "408", "413", "500", "502", "503", "504"}
    for status, name in files.items():
        head, _, body = (EDGE / name).read_bytes().decode().partition("\r\n\r\n")
        problem = json.loads(body)
        like = responses.problem(problem["status"], problem["code"], problem["detail"])
        assert json.loads(like.body) == problem
        assert problem["status"] == (503 if status.startswith("5") else int(status))
        assert head.startswith(f"HTTP/1.1 {problem['status']} ")
        assert f"Content-Type: {like.content_type}\r\nContent-Length: {len(body)}" in head
        assert ("Retry-After: 1" in head) == (problem["status"] == 503)
