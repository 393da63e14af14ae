"""POST /webhook/: what an event may look like, and how what it may not is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from client import SAID, TIMESTAMP, Client, event, inbound, named

ID_FORMS: dict[str, Callable[[UUID], str]] = {
    "lower case": str,
    "upper case": lambda it: str(it).upper(),
    "no hyphens": lambda it: it.hex,
    "braces": lambda it: f"{{{it}}}",
    "urn": lambda it: it.urn,
}

NO_IDS = {
    "empty": "",
    "a word": "conversation",
    "too short": "6a41b347-8d80-4ce9-84ba-7af66f369f6",
    "too long": "6a41b347-8d80-4ce9-84ba-7af66f369f6aa",
    "no hexadecimal": "ga41b347-8d80-4ce9-84ba-7af66f369f6a",
    "space around": " 6a41b347-8d80-4ce9-84ba-7af66f369f6a",
    # Four that int(text, 16) takes, and so Python's UUID() too.
    "0x": "0x41b3478d804ce984ba7af66f369f6a",
    "underscores": "6a41_3478d80_ce984ba7af66f369f6a",
    "sign": "+a41b3478d804ce984ba7af66f369f6a",
    "fullwidth digits": "\uff16a41b347-8d80-4ce9-84ba-7af66f369f6a",
    "number": 1,
    "null": None,
    "list": ["6a41b347-8d80-4ce9-84ba-7af66f369f6a"],
}

TIMESTAMP_FORMS = {
    "2025-06-04T14:20:05Z": "2025-06-04T14:20:05Z",
    "2025-06-04T14:20:05": "2025-06-04T14:20:05Z",
    "2025-06-04T14:20:05+00:00": "2025-06-04T14:20:05Z",
    "2025-06-04T11:20:05-03:00": "2025-06-04T14:20:05Z",
    "2025-06-04T19:50:05+0530": "2025-06-04T14:20:05Z",
    "2025-06-05T04:20:05+14": "2025-06-04T14:20:05Z",
    "2025-06-04T14:20:05.25Z": "2025-06-04T14:20:05.250000Z",
    "2025-06-04T14:20:05.123456Z": "2025-06-04T14:20:05.123456Z",
    "2025-06-04T14:20:05.123456789Z": "2025-06-04T14:20:05.123456Z",
    "2025-06-04T14:20Z": "2025-06-04T14:20:00Z",
    "20250604T142005Z": "2025-06-04T14:20:05Z",
    "20250604T112005-0300": "2025-06-04T14:20:05Z",
    "1969-12-31T23:59:59Z": "1969-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z": "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999Z": "9999-12-31T23:59:59.999999Z",
    "2025-06-04t14:20:05z": "2025-06-04T14:20:05Z",
    "2025-06-04 14:20:05Z": "2025-06-04T14:20:05Z",
    "2025-06-04T14:20.5Z": "2025-06-04T14:20:30Z",
    "2025-06-04T14,5Z": "2025-06-04T14:30:00Z",
    "2025-06-04T23:59:60Z": "2025-06-05T00:00:00Z",
    "1990-12-31T15:59:60-08:00": "1991-01-01T00:00:00Z",
    "2025-06-04T24:00:00Z": "2025-06-05T00:00:00Z",
    "2025-W23-3T14:20:05Z": "2025-06-04T14:20:05Z",
}

NO_TIMESTAMPS = {
    "empty": "",
    "a word": "yesterday",
    "month 13": "2025-13-01T00:00:00Z",
    "30 February": "2025-02-30T00:00:00Z",
    "hour 25": "2025-06-04T25:00:00Z",
    "offset of 25 hours": "2025-06-04T14:20:05+25:00",
    "a house between date and time": "2025-06-04🏠14:20:05Z",
    "a day alone": "2025-06-04",
    "fullwidth digits": "\uff12\uff10\uff12\uff15-06-04T14:20:05Z",
    "second 60 in the afternoon": "2025-06-04T14:20:60Z",
    "after midnight": "2025-06-04T24:00:01Z",
    "year 0": "0000-06-04T14:20:05Z",
    "rounded to year 10000": "9999-12-31T23:59:59.9999999Z",
    "before year 1 in UTC": "0001-01-01T00:00:00+14:00",
    "after year 9999 in UTC": "9999-12-31T23:59:59-14:00",
    "seconds since 1970": 1749046805,
    "null": None,
}

CONTENTS = {
    "a space": " ",
    "space around": "\t Oi \r\n",
    "emoji": "🏠👨‍👩‍👧‍👦🇧🇷",
    "combining, decomposed": "a\u0303o",
    "the same, composed": "ão",
    "right to left": "\u200f\u05e9\u05dc\u05d5\u05dd\u202e",
    "line separators": "\u2028\u2029\x85",
    "control characters": "\x01\x1b\x7f",
    "noncharacters": "\ufffe\uffff\U0010ffff",
    "looks like JSON": '{"type": "NEW_MESSAGE"}\\u0000',
    "looks like SQL": "'; DROP TABLE messages; -- %s %(id)s :id {} \\",
    "65,536 characters": "x" * 65_536,
    "65,536 characters of two bytes": "é" * 65_536,
    "65,536 characters beyond the BMP": "🏠" * 65_536,
}

NO_CONTENTS = {
    "empty": "",
    "65,537 characters": "x" * 65_537,
    "NUL": "Oi\0",
    "number": 5,
    "list": ["Oi"],
    "null": None,
}


UNASKED = {
    "a number beyond any float": b"1e999",
    "an integer of 5,000 digits": b"9" * 5000,
    "a number of 5,000 digits after the point": b"0." + b"1" * 5000,
    "every kind of value, nested": b'[{"a":[null,true,false,-0.0,"\\u00e1\\ud83c\\udfe0"]},[[[]]]]',
    "the event's own fields, a level down": b'{"type":1,"timestamp":2,"data":{"id":3}}',
}
"""Of JSON, but not what every reader could take into its memory."""

NO_JSON_UNASKED = {
    "half a surrogate pair": b'"\\ud83c and more"',
    "not UTF-8": b'"Ol\xe1"',
    "a bare control character": b'"\x01"',
    "no escape": b'"\\x41"',
    "a number with a leading zero": b"01",
    "NaN": b"NaN",
    "a comma too many": b"[1,]",
}

RARE_FORMS: dict[str, Callable[[str, str], tuple[str, str]]] = {
    "the usual forms": lambda timestamp, id_: (timestamp, id_),
    "a rare timestamp": lambda _, id_: ("20250604T142005Z", id_),
    "a rare id": lambda timestamp, id_: (timestamp, f"{{{id_.upper()}}}"),
}
"""Of timestamp and id: nothing else may depend on them."""


def a_message(**changes: Any) -> dict[str, Any]:
    return event("NEW_MESSAGE", **{"id": str(uuid4()), "content": SAID, "conversation_id": str(uuid4()), **changes})


def test_webhook_without_the_slash_is_the_same_endpoint(client: Client) -> None:
    conversation_id = str(uuid4())
    answer = client.post(event("NEW_CONVERSATION", id=conversation_id), path="/webhook")
    assert answer.verdict == (201, "created")
    assert client.read(conversation_id)["status"] == "OPEN"


@pytest.mark.parametrize("form", ID_FORMS.values(), ids=ID_FORMS)
def test_an_id_may_be_written_in_any_usual_form_and_is_answered_in_one(
    client: Client, form: Callable[[UUID], str]
) -> None:
    conversation_id, message_id = uuid4(), uuid4()
    opened = client.open(form(conversation_id))
    said = client.say(form(conversation_id), message_id=form(message_id))
    closed = client.close(form(conversation_id))
    assert [answer.status for answer in (opened, said, closed)] == [201, 202, 200]
    assert opened.body["conversation_id"] == str(conversation_id)
    assert said.body["conversation_id"] == str(conversation_id)
    assert said.body["message_id"] == str(message_id)
    assert closed.body["conversation_id"] == str(conversation_id)
    conversation = client.read(str(conversation_id))
    assert inbound(conversation) == named(conversation) == [str(message_id)]


def test_all_forms_of_an_id_name_the_same_thing(client: Client) -> None:
    conversation_id, message_id = UUID(client.opened()), uuid4()
    verdicts = [client.say(form(conversation_id), message_id=form(message_id)).verdict[1] for form in ID_FORMS.values()]
    assert verdicts == ["accepted", *["duplicate"] * (len(ID_FORMS) - 1)]


@pytest.mark.parametrize("no_id", NO_IDS.values(), ids=NO_IDS)
def test_what_is_no_uuid_is_no_id(client: Client, no_id: object) -> None:
    for invalid, field in (
        (event("NEW_CONVERSATION", id=no_id), "data.id"),
        (event("CLOSE_CONVERSATION", id=no_id), "data.id"),
        (a_message(id=no_id), "data.id"),
        (a_message(conversation_id=no_id), "data.conversation_id"),
    ):
        answer = client.post(invalid)
        assert answer.verdict == (400, "invalid_event")
        assert answer.wrong_fields == {field}


@pytest.mark.parametrize("sent", TIMESTAMP_FORMS)
def test_a_timestamp_is_iso_8601_and_shown_in_utc(client: Client, sent: str) -> None:
    conversation_id = client.opened()
    client.accepted(conversation_id, timestamp=sent)
    [message] = client.read(conversation_id)["messages"]
    assert message["timestamp"].endswith("Z")
    shown, meant = datetime.fromisoformat(message["timestamp"]), datetime.fromisoformat(TIMESTAMP_FORMS[sent])
    assert abs(shown - meant) <= timedelta(microseconds=1)  # the seventh digit may be cut or rounded


@pytest.mark.parametrize("no_timestamp", NO_TIMESTAMPS.values(), ids=NO_TIMESTAMPS)
@pytest.mark.parametrize("kind", ["NEW_CONVERSATION", "NEW_MESSAGE", "CLOSE_CONVERSATION"])
def test_what_is_not_iso_8601_is_no_timestamp(client: Client, kind: str, no_timestamp: object) -> None:
    answer = client.post({**a_message(), "type": kind, "timestamp": no_timestamp})
    assert answer.verdict == (400, "invalid_event")
    assert answer.wrong_fields == {"timestamp"}


@pytest.mark.parametrize("content", CONTENTS.values(), ids=CONTENTS)
def test_content_comes_back_exactly(client: Client, content: str) -> None:
    conversation_id = client.opened()
    message = a_message(content=content, conversation_id=conversation_id)
    answer = client.request("POST", "/webhook/", json.dumps(message, ensure_ascii=False).encode())
    assert answer.verdict == (202, "accepted")
    assert client.read(conversation_id)["messages"][0]["content"] == content


def test_content_may_be_escaped(client: Client) -> None:
    conversation_id = client.opened()
    client.accepted(conversation_id, "🏠 Olá")  # json.dumps escapes both, the house as a surrogate pair
    assert client.read(conversation_id)["messages"][0]["content"] == "🏠 Olá"


def test_the_longest_content_may_be_escaped_in_full(client: Client) -> None:
    """65,536 characters of 12 bytes each: "\\ud83c\\udfe0"."""
    conversation_id, content = client.opened(), "🏠" * 65_536
    body = json.dumps(a_message(content=content, conversation_id=conversation_id, extra="x" * 10_000)).encode()
    assert len(body) > 12 * 65_536
    assert client.request("POST", "/webhook/", body).verdict == (202, "accepted")
    assert client.read(conversation_id)["messages"][0]["content"] == content


@pytest.mark.parametrize("no_content", NO_CONTENTS.values(), ids=NO_CONTENTS)
def test_what_cannot_be_content_is_rejected(client: Client, no_content: object) -> None:
    answer = client.post(a_message(content=no_content))
    assert answer.verdict == (400, "invalid_event")
    assert answer.wrong_fields == {"data.content"}


@pytest.mark.parametrize("content", ["\ud83c", "Oi \udfe0", "\udfe0\ud83c"], ids=ascii)
def test_half_a_surrogate_pair_is_no_character(client: Client, content: str) -> None:
    answer = client.post(a_message(content=content))
    assert answer.status == 400
    assert answer.body["code"] in {"invalid_json", "invalid_event"}  # RFC 8259, 8.2 leaves it open whether it is JSON


def test_unknown_fields_are_ignored(client: Client) -> None:
    conversation_id = str(uuid4())
    new = event("NEW_CONVERSATION", id=conversation_id, content=1, extra={"id": None})
    message = a_message(conversation_id=conversation_id, extra=[1])
    close = event("CLOSE_CONVERSATION", id=conversation_id, conversation_id="nobody's")
    answers = [client.post({**it, "extra": "ignored", "id": 5}) for it in (new, message, close)]
    assert [answer.status for answer in answers] == [201, 202, 200]


def with_unasked(value: bytes, timestamp: str, conversation_id: str) -> bytes:
    """A NEW_CONVERSATION with a field that nobody asked for, outside of its data and within."""
    data = b'{"x":%s,"id":"%s","content":%s}' % (value, conversation_id.encode(), value)
    return b'{"x":%s,"type":"NEW_CONVERSATION","timestamp":"%s","data":%s}' % (value, timestamp.encode(), data)


@pytest.mark.parametrize("form", RARE_FORMS.values(), ids=RARE_FORMS)
@pytest.mark.parametrize("value", UNASKED.values(), ids=UNASKED)
def test_what_is_in_unknown_fields_does_not_matter(
    client: Client, value: bytes, form: Callable[[str, str], tuple[str, str]]
) -> None:
    conversation_id = str(uuid4())
    answer = client.request("POST", "/webhook/", with_unasked(value, *form(TIMESTAMP, conversation_id)))
    assert answer.verdict == (201, "created")
    assert client.read(conversation_id)["status"] == "OPEN"


@pytest.mark.parametrize("form", RARE_FORMS.values(), ids=RARE_FORMS)
@pytest.mark.parametrize("value", NO_JSON_UNASKED.values(), ids=NO_JSON_UNASKED)
def test_what_is_no_json_is_none_in_unknown_fields_either(
    client: Client, value: bytes, form: Callable[[str, str], tuple[str, str]]
) -> None:
    answer = client.request("POST", "/webhook/", with_unasked(value, *form(TIMESTAMP, str(uuid4()))))
    assert answer.verdict == (400, "invalid_json")


@pytest.mark.parametrize("form", RARE_FORMS.values(), ids=RARE_FORMS)
def test_of_a_name_that_comes_twice_the_last_one_counts(
    client: Client, form: Callable[[str, str], tuple[str, str]]
) -> None:
    conversation_id, other_id = str(uuid4()), str(uuid4())
    timestamp, written = form(TIMESTAMP, conversation_id)
    opening = '"type":"NEW_CONVERSATION"'
    for twice, expected in (
        (f'"type":1,{opening},"data":{{"id":"{other_id}","id":"{written}"}}', (201, "created")),
        (f'{opening},"data":{{"id":5,"id":"{written}"}}', (400, "conversation_exists")),
        (f'{opening},"data":5,"data":{{"id":"{written}"}}', (400, "conversation_exists")),
        (f'{opening},"data":{{"id":"{written}","id":5}}', (400, "invalid_event")),
        (f'{opening},"type":1,"data":{{"id":"{written}"}}', (400, "invalid_event")),
    ):
        body = f'{{"timestamp":1,"timestamp":"{timestamp}",{twice}}}'
        assert client.request("POST", "/webhook/", body.encode()).verdict == expected
    assert client.get(other_id).status == 404


def test_a_byte_order_mark_before_the_body_is_skipped(client: Client) -> None:
    conversation_id = str(uuid4())
    body = json.dumps(event("NEW_CONVERSATION", id=conversation_id)).encode()
    assert client.request("POST", "/webhook/", b"\xef\xbb\xbf" + body).verdict == (201, "created")
    assert client.request("POST", "/webhook/", body).verdict == (400, "conversation_exists")


def test_a_body_in_utf_16_is_named(client: Client) -> None:
    answer = client.request("POST", "/webhook/", json.dumps(a_message()).encode("utf-16"))
    assert answer.verdict == (400, "invalid_json")
    assert "UTF-16" in answer.body["detail"]


@pytest.mark.parametrize("kind", [None, "", "new_message", "NEW_MESSAGE ", "DELETE_CONVERSATION", 1, ["NEW_MESSAGE"]])
def test_an_unknown_type_is_named(client: Client, kind: object) -> None:
    answer = client.post({**a_message(), "type": kind})
    assert answer.verdict == (400, "invalid_event")
    assert answer.wrong_fields == {"type"}


@pytest.mark.parametrize("field", ["type", "timestamp", "data", "data.id", "data.content", "data.conversation_id"])
def test_a_missing_field_is_named(client: Client, field: str) -> None:
    message = a_message()
    parent, _, name = field.rpartition(".")
    del (message[parent] if parent else message)[name]
    answer = client.post(message)
    assert answer.verdict == (400, "invalid_event")
    assert answer.wrong_fields == {field}


@pytest.mark.parametrize("data", [None, "data", 1, []], ids=repr)
def test_data_that_is_no_object_is_named(client: Client, data: object) -> None:
    answer = client.post({"type": "NEW_MESSAGE", "timestamp": TIMESTAMP, "data": data})
    assert answer.verdict == (400, "invalid_event")
    assert answer.wrong_fields == {"data"}


def test_every_wrong_field_is_named_with_a_reason(client: Client) -> None:
    answer = client.post({"type": "NEW_MESSAGE", "timestamp": "now", "data": {"id": "1", "content": ""}})
    assert answer.verdict == (400, "invalid_event")
    assert answer.wrong_fields == {"timestamp", "data.id", "data.content", "data.conversation_id"}
    assert all(error.keys() == {"field", "message"} and error["message"] for error in answer.body["errors"])


def test_an_invalid_event_changes_nothing(client: Client) -> None:
    conversation_id = client.opened()
    before = client.read(conversation_id)
    assert client.post(a_message(content="", conversation_id=conversation_id)).status == 400
    assert client.read(conversation_id) == before
