"""Commands and verdicts survive the way between two services, and versions that differ are rejected."""

from __future__ import annotations

from datetime import UTC

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmate.domain.events import PASSING, PROMISES, Verdict
from realmate.wire.answers import answer
from realmate.wire.commands import (
    VERSION,
    CloseCommand,
    Command,
    EventCommand,
    MessageCommand,
    OpenCommand,
    Origin,
    RejectedCommand,
    UnknownVersion,
    UnreadCommand,
    decode_commands,
    decode_verdicts,
    encode_commands,
    encode_verdicts,
    understood_verdicts,
)

NOT_OF_A_CONVERSATION = {Verdict.MESSAGE_CONFLICT, Verdict.IDEMPOTENCY_MISMATCH, Verdict.UNSTORABLE}

_ids = st.uuids().map(str)
_moments = st.datetimes(timezones=st.just(UTC))
_origins = st.builds(Origin, st.text(), st.text(), st.binary())
_events: st.SearchStrategy[EventCommand] = st.one_of(
    st.builds(OpenCommand, st.text(), _ids, _moments, _origins),
    st.builds(MessageCommand, st.text(), _ids, _moments, _ids, st.text(min_size=1), _origins),
    st.builds(CloseCommand, st.text(), _ids, _moments, _origins),
)
_commands: st.SearchStrategy[Command] = _events | st.builds(
    RejectedCommand, st.text(), st.text(), st.text(), st.binary(), _origins
)


@given(st.lists(_commands))
def test_commands_arrive_as_they_were_sent(commands: list[Command]) -> None:
    assert decode_commands(encode_commands(commands)) == commands


@given(st.lists(_events, min_size=1, max_size=4), st.data())
def test_a_command_that_cannot_be_read_leaves_those_beside_it(events: list[EventCommand], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(events) - 1))
    unreadable = data.draw(
        st.sampled_from(
            [
                msgspec.structs.replace(events[place], conversation_id=f"{{{events[place].conversation_id}}}"),
                msgspec.structs.replace(events[place], conversation_id=events[place].conversation_id + "\n"),
                msgspec.structs.replace(events[place], request_id=None),
                (99, "of a kind that only a later version has"),
                "no command",
                None,
            ]
        )
    )
    batch: list[object] = [*events]
    batch[place] = unreadable
    read = decode_commands(msgspec.msgpack.encode((VERSION, batch)))
    assert isinstance(read.pop(place), UnreadCommand)
    assert read == events[:place] + events[place + 1 :]


@given(st.none() | st.lists(st.sampled_from(Verdict)))
def test_verdicts_arrive_as_they_were_sent(verdicts: list[Verdict] | None) -> None:
    assert decode_verdicts(encode_verdicts(verdicts)) == verdicts


def test_an_intake_of_the_version_before_is_told_only_verdicts_that_it_knows() -> None:
    """During a rolling update. Its commands say nothing of verdicts, as that version had no word for it."""
    before = msgspec.msgpack.encode((VERSION, []))
    assert decode_commands(before) == []
    known = [verdict for verdict in Verdict if verdict not in {Verdict.UNSTORABLE, Verdict.FAILED}]
    told = decode_verdicts(encode_verdicts(known, understood_verdicts(before)))
    assert told is not None
    assert Verdict.TOO_MANY_HELD not in told
    assert [each for each in told if each in PROMISES] == [each for each in Verdict if each in PROMISES]
    for verdict in (Verdict.UNSTORABLE, Verdict.FAILED):
        assert decode_verdicts(encode_verdicts([Verdict.HELD, verdict], understood_verdicts(before))) is None
    assert understood_verdicts(encode_commands([])) > 0


def test_another_version_is_rejected_before_its_body_is_read() -> None:
    newer = msgspec.msgpack.encode((VERSION + 1, {"something": "else"}))
    with pytest.raises(UnknownVersion, match=f"version {VERSION + 1}"):
        decode_commands(newer)
    with pytest.raises(UnknownVersion, match=f"version {VERSION + 1}"):
        decode_verdicts(newer)


@pytest.mark.parametrize("verdict", [verdict for verdict in Verdict if verdict is not Verdict.REJECTED])
@given(command=_events)
def test_every_verdict_has_an_answer_that_is_json(command: EventCommand, verdict: Verdict) -> None:
    """The 2xx bodies are written by hand, so they are checked against a parser here.

    What is REJECTED was answered by the intake before it was sent on.
    """
    response = answer(command, verdict)
    body = msgspec.json.decode(response.body)
    if verdict is Verdict.FAILED:
        assert (body["code"], response.status) == ("unavailable", 503)
        return
    if response.status in {400, 429}:
        assert (body["code"], body["status"]) == (verdict, response.status)
        assert (response.status == 429) == (verdict in PASSING) == ("Retry-After" in dict(response.headers))
        assert command.conversation_id in body["detail"] or verdict in NOT_OF_A_CONVERSATION
        return
    assert response.status == {"created": 201, "closed": 200}.get(verdict, 202)
    assert body["status"] == verdict
    assert body["conversation_id"] == command.conversation_id
    if isinstance(command, MessageCommand):
        assert body["message_id"] == command.message_id
