"""A request's body becomes a command, or an error that names every wrong field."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmate.wire.commands import CloseCommand, MessageCommand, OpenCommand
from realmate.wire.webhook import MAX_CONTENT_CHARS, InvalidEvent, InvalidJson, examine, parse_event

MESSAGE_ID = "49108c71-4dca-4af3-9f32-61bc745926e2"
CONVERSATION_ID = "6a41b347-8d80-4ce9-84ba-7af66f369f6a"
SENT_AT = datetime(2025, 6, 4, 14, 20, 5, tzinfo=UTC)


def event(**changes: Any) -> dict[str, Any]:
    data = {"id": MESSAGE_ID, "content": "Oi", "conversation_id": CONVERSATION_ID}
    data |= {name.removeprefix("data_"): value for name, value in changes.items() if name.startswith("data_")}
    outer = {name: value for name, value in changes.items() if not name.startswith("data_")}
    return {"type": "NEW_MESSAGE", "timestamp": "2025-06-04T14:20:05Z", "data": data} | outer


def parse(body: object) -> Any:
    return parse_event(json.dumps(body).encode(), "request-1")


def wrong_fields(body: object) -> list[str]:
    with pytest.raises(InvalidEvent) as caught:
        parse(body)
    return [error.field for error in caught.value.errors]


def test_each_type_becomes_its_command() -> None:
    data = {"id": CONVERSATION_ID}
    assert parse(event()) == MessageCommand("request-1", CONVERSATION_ID, SENT_AT, MESSAGE_ID, "Oi")
    assert parse(event(type="NEW_CONVERSATION", data=data)) == OpenCommand("request-1", CONVERSATION_ID, SENT_AT)
    assert parse(event(type="CLOSE_CONVERSATION", data=data)) == CloseCommand("request-1", CONVERSATION_ID, SENT_AT)


@pytest.mark.parametrize(
    "form",
    [
        MESSAGE_ID,
        MESSAGE_ID.upper(),
        MESSAGE_ID.replace("-", ""),
        f"{{{MESSAGE_ID}}}",
        f"urn:uuid:{MESSAGE_ID}",
        f"URN:UUID:{MESSAGE_ID.upper()}",
    ],
)
def test_ids_come_in_any_usual_form(form: str) -> None:
    assert parse(event(data_id=form)).message_id == MESSAGE_ID


@pytest.mark.parametrize(
    "form",
    [
        "",
        "abc",
        MESSAGE_ID[:-1],
        MESSAGE_ID + "0",
        f"{{{MESSAGE_ID}",
        f" {MESSAGE_ID}",
        "4-9108c714dca4af39f3261bc745926e2",
        MESSAGE_ID.replace("4", "\N{FULLWIDTH DIGIT FOUR}"),
        7,
        None,
        [MESSAGE_ID],
    ],
)
def test_anything_else_is_no_id(form: object) -> None:
    assert wrong_fields(event(data_id=form)) == ["data.id"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2025-06-04T14:20:05Z", SENT_AT),
        ("2025-06-04T14:20:05", SENT_AT),
        ("2025-06-04T11:20:05-03:00", SENT_AT),
        ("2025-06-04 14:20:05+00:00", SENT_AT),
        ("20250604T142005Z", SENT_AT),
        ("2025-06-04T11:20:05-03", SENT_AT),
        ("2025-06-04T14:20:05.123456Z", SENT_AT.replace(microsecond=123456)),
        ("2025-06-04T14:20:05,5Z", SENT_AT.replace(microsecond=500000)),
        ("2025-06-04T14:20Z", SENT_AT.replace(second=0)),
    ],
)
def test_timestamps_are_iso_8601_and_utc_where_they_name_no_offset(text: str, expected: datetime) -> None:
    assert parse(event(timestamp=text)).timestamp == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2025-13-01T00:00:00Z",
        "2025-06-04T25:00:00Z",
        1749046805,
        None,
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_anything_else_is_no_timestamp(text: object) -> None:
    """Including moments before year 1 or after 9999 in UTC: no calendar of ours could show them."""
    assert wrong_fields(event(timestamp=text)) == ["timestamp"]


def test_content_is_bounded_and_storable() -> None:
    assert parse(event(data_content="x" * MAX_CONTENT_CHARS)).content == "x" * MAX_CONTENT_CHARS
    assert parse(event(data_content="👋" * MAX_CONTENT_CHARS)).content == "👋" * MAX_CONTENT_CHARS
    for bad in ("", "x" * (MAX_CONTENT_CHARS + 1), "a\0b", 7, None, ["Oi"]):
        assert wrong_fields(event(data_content=bad)) == ["data.content"]


def test_every_wrong_field_is_named() -> None:
    body = {"type": "NEW_MESSAGE", "timestamp": "now", "data": {"id": "x", "conversation_id": 5}}
    assert wrong_fields(body) == ["timestamp", "data.id", "data.content", "data.conversation_id"]
    assert wrong_fields({}) == ["type", "timestamp", "data"]
    assert wrong_fields(event(type="NEW_MESSAG")) == ["type"]
    assert wrong_fields(event(data=[])) == ["data"]
    assert wrong_fields([]) == [""]


def test_unknown_fields_are_ignored() -> None:
    assert parse(event(more=1, data_more={"a": []})) == parse(event())


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"a":"\xff"}', b'{"a":"\\ud800"}', b"[" * 100_000, b"\xef\xbb\xbf{", b"\xef\xbb\xbf"]
)
def test_what_is_not_json_is_said_to_be_that(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        parse_event(body, "request-1")


def test_what_is_no_json_is_said_to_be_that_before_what_is_no_event() -> None:
    for body in (b"[1,", b"5 x", b'"', b'{"type":1,"data":[}'):
        with pytest.raises(InvalidJson):
            parse_event(body, "request-1")


def test_what_is_not_utf_8_is_no_json_wherever_it_stands() -> None:
    body = json.dumps(event(unknown="?")).encode().replace(b"?", b"\x9b")
    with pytest.raises(InvalidJson):
        parse_event(body, "request-1")


_names = st.sampled_from(["type", "timestamp", "data", "id", "content", "conversation_id"])
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(_names, inner),
)


@given(_json)
def test_no_json_whatever_makes_it_fall_over(body: object) -> None:
    with pytest.raises(InvalidEvent):
        parse(body)


_timestamps = st.sampled_from(["2025-06-04T14:20:05Z", "20250604T142005Z", "2025-06-04 11:20:05,0-03"])
_ids = st.sampled_from([MESSAGE_ID, MESSAGE_ID.upper(), f"{{{MESSAGE_ID}}}", f"urn:uuid:{MESSAGE_ID}"])


@given(_timestamps, _ids, st.binary(max_size=40))
def test_what_is_taken_does_not_depend_on_the_form_of_timestamp_and_id(timestamp: str, key: str, spoilt: bytes) -> None:
    """Whatever else is in the body: here, a few bytes in the place of an unknown field's value."""

    def outcome(parse: Callable[[bytes, str], object] = parse_event, **changes: str) -> object:
        body = json.dumps(event(x="?", **changes)).encode().replace(b'"?"', spoilt)
        try:
            return parse(body, "request-1")
        except (InvalidJson, InvalidEvent) as rejected:
            return type(rejected)

    assert outcome(timestamp=timestamp, data_id=key) == outcome()
    assert outcome(examine) == outcome()


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"NEW_CONVERSATION","timestamp":"2025-06-04T14:20:05Z","data":{"id":"%s","content":1e999}}',
        b'{"type":1,"type":"CLOSE_CONVERSATION","timestamp":"2025-06-04T14:20:05Z","data":{"id":"%s"}}',
        b'{"type":"NEW_CONVERSATION","timestamp":"2025-06-04T14:20:05Z","data":null,"data":{"id":"%s"}}',
    ],
)
def test_what_the_usual_decoding_stumbles_over_is_taken_where_the_event_does_not_need_it(body: bytes) -> None:
    assert parse_event(body % CONVERSATION_ID.encode(), "request-1") == examine(
        body % CONVERSATION_ID.encode(), "request-1"
    )


@given(st.binary())
def test_no_bytes_whatever_make_it_fall_over(body: bytes) -> None:
    with pytest.raises((InvalidJson, InvalidEvent)):
        parse_event(body, "request-1")
