"""The file of sources: what it may say, what is wrong with it and where, and how it is followed."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from realmate.sources.configuration import ConfigurationError
from realmate.sources.file import SourceFile, check_source
from realmate.sources.signing import HubSignature
from signatures import OTHER_SECRET, SECRET

SHOP = """
[sources.shop]
max_body_bytes = 1000

[sources.shop.signing]
scheme = "standard-webhooks"
secrets = [{ env = "SHOP_SECRET" }]
"""
GOOD = {"SHOP_SECRET": SECRET}


def read(directory: Path, content: str, name: str = "sources.toml") -> SourceFile:
    path = directory / name
    path.write_text(content)
    return SourceFile(path, GOOD)


def test_a_source_has_what_the_file_gives_it(tmp_path: Path) -> None:
    sources = read(tmp_path, SHOP + "[sources.default]\n").content
    assert set(sources) == {"default", "shop"}
    assert sources["shop"].max_body_bytes == 1000
    assert sources["shop"].verifier is not None
    assert sources["default"].verifier is None


def test_json_says_the_same(tmp_path: Path) -> None:
    signing = {"scheme": "standard-webhooks", "secrets": [{"value": SECRET}], "tolerance_s": 60}
    sources = read(tmp_path, json.dumps({"sources": {"shop": {"signing": signing}}}), "sources.json").content
    assert sources["shop"].verifier is not None


def test_an_empty_file_is_no_file(tmp_path: Path) -> None:
    assert set(read(tmp_path, "").content) == {"default"}


@pytest.mark.parametrize("named", ["[sources.shop]\n", "[sources.shop]\nenabled = false\n"])
def test_beside_named_sources_the_default_one_is_closed_unless_it_is_named(tmp_path: Path, named: str) -> None:
    """Nobody could tell what anyone sends to it from what the signed sources sent."""
    closed = read(tmp_path, named)
    assert "default" not in closed.content
    assert closed.remark is not None
    assert "POST /webhook/ is closed" in closed.remark
    opened = read(tmp_path, named + "[sources.default]\n")
    assert "default" in opened.content
    assert opened.remark is None


def test_the_default_source_closes_when_the_first_other_one_is_named(tmp_path: Path) -> None:
    file = read(tmp_path, "")
    assert set(file.content) == {"default"}
    file.path.write_text(SHOP)
    assert file.refresh()
    assert set(file.content) == {"shop"}


def test_a_source_can_be_turned_off_the_default_one_too(tmp_path: Path) -> None:
    assert set(read(tmp_path, SHOP + "[sources.default]\nenabled = false").content) == {"shop"}


HTTP_REPLY = """
[sources.shop.reply]
kind = "http"
url = "https://replies.example/path"
secrets = [{ value = "whsec_MTIzNDU2Nzg5MDEyMzQ1Ng==" }]
"""


def test_a_source_s_replies_may_come_from_a_responder(tmp_path: Path) -> None:
    responder = read(tmp_path, HTTP_REPLY).content["shop"].responder
    assert responder is not None
    assert (responder.url, responder.timeout_s, responder.allow_private) == ("https://replies.example/path", 5, False)
    assert read(tmp_path, "[sources.shop.reply]\nkind = 'ids'").content["shop"].responder is None


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[[", "not TOML: .*line 1|not TOML: .*end of document"),
        ("\xff", "not TOML"),
        ("senders = 1", "unknown field `senders`"),
        ("sources = 3", "^sources: Expected `object`"),
        ("[sources.Shop]", r"^sources\.Shop: a name is 1 to 63"),
        ("[sources.'']", r"^sources\.: a name is"),
        ("[sources.shop]\nspeed = 3", r"^sources\.shop: .*unknown field `speed`"),
        ("[sources.shop]\nmax_body_bytes = '1'", r"^sources\.shop\.max_body_bytes: Expected `int"),
        ("[sources.shop]\nmax_body_bytes = 0", r"^sources\.shop\.max_body_bytes: .*>= 1"),
        ("[sources.shop.reply]\nkind = 'http'\nurl = 'https://a/'", r"^sources\.shop\.reply: .*secrets"),
        (HTTP_REPLY.replace("https", "ftp"), r"^sources\.shop\.reply: url must be https"),
        (HTTP_REPLY.replace("https", "http"), r"^sources\.shop\.reply: url must be https; http is for private"),
        (HTTP_REPLY.replace("https://", "https://user@"), r"^sources\.shop\.reply: url must be https"),
        (
            HTTP_REPLY.replace("MTIzNDU2Nzg5MDEyMzQ1Ng==", "c2hvcnQ="),
            r"^sources\.shop\.reply\.secrets\[0\]: .*16 bytes",
        ),
        ("[sources.shop.limit]\nevents_per_s = 1e-320", r"^sources\.shop\.limit\.events_per_s: .*>= 0\.001"),
        ("[sources.shop.limit]\nevents_per_s = 0.001\nburst = 2593", r"^sources\.shop\.limit: burst / events_per_s"),
        ("[sources.shop.limit]\nevents_per_s = nan", r"^sources\.shop\.limit\.events_per_s: "),
        ("[sources.shop.retention]\nclosed_days = 0", r"^sources\.shop\.retention\.closed_days: .*> 0"),
        ("[sources.shop.rejections]\nmax_count = -1", r"^sources\.shop\.rejections\.max_count: .*>= 0"),
        ("[sources.shop.signing]\nscheme = 'none'", r"^sources\.shop\.signing\.scheme: Invalid value 'none'"),
        (SHOP.replace("{ env", "{ environment"), r"^sources\.shop\.signing\.secrets\[0\]: .*`environment`"),
        (SHOP.replace("SHOP_SECRET", "X"), r"^sources\.shop\.signing\.secrets\[0\]: the environment has no X"),
        (SHOP.replace('env = "SHOP_SECRET"', ""), r"secrets\[0\]: must have one of value, file and env"),
        (SHOP.replace('{ env = "SHOP_SECRET" }', ""), r"^sources\.shop\.signing\.secrets: .*length >= 1"),
        (
            SHOP.replace('env = "SHOP_SECRET"', 'file = "none.key"'),
            r"secrets\[0\]: cannot read .*none\.key: No such file",
        ),
        (SHOP + "tolerance_s = 301", r"^sources\.shop\.signing\.tolerance_s: .*<= 300"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        read(tmp_path, content)


HUB = """
[sources.hub.signing]
scheme = "x-hub-signature-256"
secrets = [{ SECRET }]
"""
HUB_SECRET = "0123456789abcdef0123456789abcdef"
AROUND = {
    "nothing": "{}",
    "a line end": "{}\n",
    "Windows' line end": "{}\r\n",
    "blanks": " \t{}  \n\n",
    "a byte order mark": "\ufeff{}\n",
    "a byte order mark, blanks and line ends": "\ufeff \r\n{}\r\n",
    "a blank and a byte order mark": " \ufeff{}",
}
NO_SECRETS = {
    "nothing": ("", "16 bytes"),
    "blanks alone": (" " * 16, "16 bytes"),
    "a byte order mark alone": ("\ufeff" * 6, "ASCII"),
    "two lines": (f"{HUB_SECRET}\n{HUB_SECRET}", "white space within"),
    "Windows' two lines": (f"{HUB_SECRET}\r\nsecond", "white space within"),
    "a blank within": ("correct horse battery staple", "white space within"),
    "a no-break space within": (f"{HUB_SECRET}\u00a0{HUB_SECRET}", "white space within"),
    "a byte order mark within": (f"01234567\ufeff{HUB_SECRET}", "ASCII"),
    "accents": ("atenção-e-cuidado-com-isto", "ASCII"),
    "a control character": (f"{HUB_SECRET}\x08", "ASCII"),
    "one character again and again": ("0" * 64, "repeats one or two bytes"),
    "two characters again and again": ("ab" * 20, "repeats one or two bytes"),
    "fifteen bytes": ("0123456789abcde", "16 bytes"),
}


def read_by(way: str, directory: Path, content: str, secret: str) -> SourceFile:
    """The file, whose secret comes in this way."""
    if way == "file":
        (directory / "a.key").write_bytes(secret.encode())
    references = {"file": "file = 'a.key'", "env": "env = 'A'", "value": f"value = {json.dumps(secret)}"}
    path = directory / "sources.toml"
    path.write_text(content.replace("SECRET", references[way]))
    return SourceFile(path, {"A": secret})


@pytest.mark.parametrize("way", ["file", "env", "value"])
@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_what_is_around_a_secret_does_not_count_however_it_comes(tmp_path: Path, way: str, around: str) -> None:
    verifier = read_by(way, tmp_path, HUB, around.format(HUB_SECRET)).content["hub"].verifier
    assert verifier is not None
    signed = HubSignature([HUB_SECRET]).sign(b"body", "", 0)
    verifier.verify(b"body", {name.lower(): value for name, value in signed.items()})


@pytest.mark.parametrize("way", ["file", "env", "value"])
@pytest.mark.parametrize(("secret", "complaint"), NO_SECRETS.values(), ids=NO_SECRETS)
def test_what_is_no_good_secret_is_named_however_it_comes(
    tmp_path: Path, way: str, secret: str, complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=rf"^sources\.hub\.signing\.secrets\[0\]: the secret .*{complaint}"):
        read_by(way, tmp_path, HUB, secret)


@pytest.mark.parametrize("key", [bytes(32), b"\xff" * 16, b" " * 24, b"ab" * 16])
def test_what_a_standard_secret_means_must_be_hard_to_guess(tmp_path: Path, key: bytes) -> None:
    secret = f"whsec_{base64.b64encode(key).decode()}"
    with pytest.raises(ConfigurationError, match=r"secrets\[0\]: the secret repeats one or two bytes"):
        read_by("value", tmp_path, HUB.replace("x-hub-signature-256", "standard-webhooks"), secret)


def test_the_same_secret_twice_is_named(tmp_path: Path) -> None:
    twice = HUB.replace("{ SECRET }", "{ SECRET }, { value = 'another-secret-of-some-length' }, { SECRET }")
    with pytest.raises(ConfigurationError, match=r"signing\.secrets\[2\]: the secret is secrets\[0\] once more"):
        read_by("env", tmp_path, twice, HUB_SECRET)
    reply = HTTP_REPLY.replace(" }]", ' }, { value = "whsec_MTIzNDU2Nzg5MDEyMzQ1Ng" }]')  # the same without its padding
    with pytest.raises(ConfigurationError, match=r"reply\.secrets\[1\]: the secret is secrets\[0\] once more"):
        read(tmp_path, reply)


def test_a_file_s_encoding_is_utf_8_with_a_byte_order_mark_or_without(tmp_path: Path) -> None:
    path = tmp_path / "sources.toml"
    path.write_bytes(SHOP.encode("utf-8-sig"))
    assert "shop" in SourceFile(path, GOOD).content
    path = tmp_path / "sources.json"
    path.write_bytes(json.dumps({"sources": {"shop": {}}}).encode("utf-8-sig"))
    assert "shop" in SourceFile(path, GOOD).content
    for encoding, complaint in (("utf-16", "is in UTF-16; save it in UTF-8"), ("latin-1", r"is not UTF-8 \(byte 1\)")):
        path.write_bytes('"ê"'.encode(encoding))
        with pytest.raises(ConfigurationError, match=rf"sources\.json {complaint}"):
            SourceFile(path, GOOD)
    (tmp_path / "a.key").write_bytes(HUB_SECRET.encode("utf-16"))
    with pytest.raises(ConfigurationError, match=r"secrets\[0\]: a\.key is in UTF-16"):
        read(tmp_path, HUB.replace("SECRET", "file = 'a.key'"))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"sources": {"shop": {}, "shop": {"paused": true}}}', "the name 'shop' comes twice"),
        ('{"sources": {"shop": {"paused": true, "paused": false}}}', "the name 'paused' comes twice"),
        ('{"sources": {}, "sources": {"shop": {}}}', "the name 'sources' comes twice"),
        ('{"sources": {"sh\\u006fp": {}, "shop": {}}}', "the name 'shop' comes twice"),
        ('{"sources": {"shop": {"limit": {"events_per_s": NaN}}}}', "NaN is no number"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_json_is_as_strict_as_toml(tmp_path: Path, content: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"sources\.json is not JSON: .*{complaint}"):
        read(tmp_path, content, "sources.json")


def test_no_complaint_and_no_repr_tells_a_secret(tmp_path: Path) -> None:
    weak = "whsec_c2hvcnQ="
    for line in (f'value = "{weak}"', f'value = "{weak}", env = "A"', f'value = "{weak}", x = 1'):
        with pytest.raises(ConfigurationError) as caught:
            read(tmp_path, SHOP.replace('env = "SHOP_SECRET"', line))
        assert "c2hvcnQ" not in str(caught.value)
    assert SECRET not in repr(read(tmp_path, SHOP).content)


def test_it_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = read(tmp_path, SHOP)
    assert not file.refresh()
    (tmp_path / "sources.toml").write_text(SHOP.replace("sources.shop", "sources.store"))
    assert file.refresh()
    assert set(file.content) == {"store"}
    assert not file.refresh()


def test_a_secret_s_file_that_changes_is_a_change(tmp_path: Path) -> None:
    key = tmp_path / "shop.key"
    key.write_text(SECRET + "\n")
    file = read(tmp_path, SHOP.replace('env = "SHOP_SECRET"', 'file = "shop.key"'))
    before = file.content["shop"].verifier
    key.write_text(OTHER_SECRET)
    assert file.refresh()
    assert file.content["shop"].verifier is not before


def test_while_it_is_wrong_what_it_said_before_holds(tmp_path: Path) -> None:
    path = tmp_path / "sources.toml"
    file = read(tmp_path, SHOP)
    for content in ("[sources.shop]\nspeed = 3", None, SHOP.replace('env = "SHOP_SECRET"', 'file = "late.key"')):
        path.unlink() if content is None else path.write_text(content)
        assert file.refresh()
        assert file.error is not None
        assert set(file.content) == {"shop"}
        assert not file.refresh()
    (tmp_path / "late.key").write_text(SECRET)  # what it waited for comes, and the file itself has not changed
    assert file.refresh()
    assert file.error is None


def test_the_settings_of_one_source_can_be_checked_by_themselves() -> None:
    check_source("shop", {"signing": {"scheme": "standard-webhooks", "secrets": [{"value": SECRET}]}})
    for settings, message in (
        ({"speed": 3}, "sources.shop: Object contains unknown field `speed`"),
        ({"signing": {"scheme": "standard-webhooks", "secrets": [{"file": "/etc/passwd"}]}}, "no file can be named"),
        ({"signing": {"scheme": "standard-webhooks", "secrets": [{"env": "HOME"}]}}, "the environment has no HOME"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            check_source("shop", settings)
