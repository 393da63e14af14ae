"""The endpoints in the file of sources: what they may say, what is wrong with them and where, and who reads what."""

from __future__ import annotations

from pathlib import Path

import pytest

from realmate.sources.configuration import ConfigurationError
from realmate.sources.endpoint_file import EndpointFile, read_endpoints
from realmate.sources.endpoints import SVIX_SCHEDULE_S, Endpoint
from realmate.sources.file import SourceFile
from signatures import OTHER_SECRET, SECRET

CRM = """
[endpoints.crm]
url = "https://crm.example/realmate"
secrets = [{ env = "CRM_SECRET" }]
"""
GOOD = {"CRM_SECRET": SECRET}


def read(directory: Path, content: str, environment: dict[str, str] = GOOD) -> EndpointFile:
    path = directory / "sources.toml"
    path.write_text(content)
    return EndpointFile(path, environment)


def crm(directory: Path, more: str = "") -> Endpoint:
    return read(directory, CRM + more).content["crm"]


def test_an_endpoint_needs_an_address_and_a_secret_alone(tmp_path: Path) -> None:
    endpoint = crm(tmp_path)
    assert (endpoint.name, endpoint.url) == ("crm", "https://crm.example/realmate")
    assert (endpoint.events, endpoint.sources, endpoint.rate) == (None, None, None)
    assert (endpoint.timeout_s, endpoint.concurrency, endpoint.pause_after_s) == (15, 16, 86_400)
    assert endpoint.schedule_s == SVIX_SCHEDULE_S
    assert not endpoint.allow_private


def test_each_setting_has_its_effect(tmp_path: Path) -> None:
    endpoint = crm(
        tmp_path,
        """
        events = ["reply.created", "conversation.closed"]
        sources = ["shop"]
        schedule = [1, 2.5]
        allow_private = true
        timeout_s = 3
        concurrency = 2
        rate = 2.5
        pause_after_h = 0.5
        """,
    )
    assert endpoint.events == frozenset({"reply.created", "conversation.closed"})
    assert endpoint.sources == frozenset({"shop"})
    assert endpoint.schedule_s == (1, 2.5)
    assert (endpoint.timeout_s, endpoint.concurrency, endpoint.pause_after_s) == (3, 2, 1800)
    assert endpoint.rate is not None
    assert (endpoint.rate.events_per_s, endpoint.rate.burst) == (2.5, 3)
    assert endpoint.allow_private


def test_after_each_failure_comes_the_next_pause_and_after_the_last_one_none(tmp_path: Path) -> None:
    endpoint = crm(tmp_path, "schedule = [1, 2.5]")
    assert [endpoint.pause_s(failures) for failures in (1, 2, 3)] == [1, 2.5, None]
    assert crm(tmp_path, "schedule = []").pause_s(1) is None


def test_several_secrets_sign_each_request(tmp_path: Path) -> None:
    several = CRM.replace("{ env", f'{{ value = "{OTHER_SECRET}" }}, {{ env')
    signed = read(tmp_path, several).content["crm"].signer.sign(b"{}", "evt_1", 1)
    assert len(signed["webhook-signature"].split(" ")) == 2


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[endpoints.Crm]", r"^endpoints\.Crm: a name is 1 to 63"),
        ("[endpoints.crm]", r"^endpoints\.crm: .*missing required field `url`"),
        (CRM + "speed = 3", r"^endpoints\.crm: .*unknown field `speed`"),
        (CRM.replace("https", "http"), r"^endpoints\.crm: url must be https; http is for private"),
        (CRM.replace("https://", "https://user@"), r"^endpoints\.crm: url must be https"),
        (CRM + 'events = ["reply.written"]', r"^endpoints\.crm: events: 'reply\.written' is no event; there are conv"),
        (CRM + "events = []", r"^endpoints\.crm\.events: .*length >= 1"),
        (CRM + 'sources = ["Shop"]', r"^endpoints\.crm: sources: 'Shop' is no source's name"),
        (CRM + 'schedule = "hourly"', r"^endpoints\.crm\.schedule: Invalid enum value 'hourly'"),
        (CRM + "schedule = [1, -1]", r"^endpoints\.crm\.schedule\[1\]: .*>= 0"),
        (CRM + "schedule = [1, 'soon']", r"^endpoints\.crm\.schedule\[1\]: Expected `float`"),
        (CRM + "timeout_s = 0", r"^endpoints\.crm\.timeout_s: .*> 0"),
        (CRM + "timeout_s = 61", r"^endpoints\.crm\.timeout_s: .*<= 60"),
        (CRM + "concurrency = 0", r"^endpoints\.crm\.concurrency: .*>= 1"),
        (CRM + "rate = 0", r"^endpoints\.crm\.rate: .*>= 0\.001"),
        (CRM + "pause_after_h = 0", r"^endpoints\.crm\.pause_after_h: .*> 0"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_by_everybody_who_reads_the_file(
    tmp_path: Path, content: str, complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        read(tmp_path, content)
    with pytest.raises(ConfigurationError, match=complaint):
        SourceFile(tmp_path / "sources.toml", {})


def test_the_secrets_are_read_by_those_alone_who_send(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^endpoints\.crm\.secrets\[0\]: the environment has no CRM_SECRET"):
        read(tmp_path, CRM, {})
    assert set(SourceFile(tmp_path / "sources.toml", {}).content) == {"default"}


def test_a_weak_secret_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"^endpoints\.crm\.secrets\[0\]: the secret must start with whsec_"):
        read(tmp_path, CRM, {"CRM_SECRET": "secret"})


def test_without_a_file_there_are_no_endpoints() -> None:
    assert read_endpoints(None) == {}


def test_private_addresses_can_be_taken_away_from_every_endpoint(tmp_path: Path) -> None:
    file = tmp_path / "sources.toml"
    secret = f'{{ value = "{SECRET}" }}'
    file.write_text(f'[endpoints.crm]\nurl = "http://10.0.0.1/"\nsecrets = [{secret}]\nallow_private = true\n')
    for allowed in (True, False):
        assert read_endpoints(file, allow_private=allowed)["crm"].allow_private is allowed
