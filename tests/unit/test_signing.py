"""Who may send: signatures that prove it, and all the others."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmate.http_server.parser import OWN_HEADERS, RequestParser, headers_kept
from realmate.sources import signing
from realmate.sources.signing import HubSignature, SignatureRejected, StandardWebhooks, WeakSecret
from realmate.webhook.service import HEADERS as WEBHOOK_HEADERS
from signatures import OTHER_SECRET, SECRET, signature

APP_SECRET = "0123456789abcdef0123456789abcdef"
BODY = '{"type": "NEW_MESSAGE", "data": {"content": "Olá 👋"}}'.encode()


LATIN = st.text(st.characters(max_codepoint=255), max_size=200)
"""What a header's value may be: any byte."""


def signed(body: bytes = BODY, *, secret: str = SECRET, ago_s: float = 0) -> dict[str, str]:
    return signature(body, secret=secret, ago_s=ago_s)


def hub(body: bytes = BODY, *, secret: str = APP_SECRET) -> dict[str, str]:
    """As Meta documents it: the body's HMAC with the app's secret."""
    return {"x-hub-signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def rejection(headers: dict[str, str], body: bytes = BODY, *, tolerance_s: float = 300) -> str:
    with pytest.raises(SignatureRejected) as caught:
        StandardWebhooks([SECRET], tolerance_s=tolerance_s).verify(body, headers)
    return caught.value.reason


def test_an_honest_request_passes() -> None:
    StandardWebhooks([SECRET]).verify(BODY, signed())


def test_the_example_of_the_scheme_s_own_libraries_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fixed secret, moment and body, so that signing and verifying cannot be wrong together."""
    monkeypatch.setattr("realmate.sources.signing.time.time", lambda: 1614265331.0)
    headers = {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    verifier = StandardWebhooks(["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    verifier.verify(b'{"test": 2432232314}', headers)
    with pytest.raises(SignatureRejected):
        verifier.verify(b'{"test": 2432232315}', headers)


@pytest.mark.parametrize("scheme", signing.SCHEMES)
def test_the_http_server_keeps_the_headers_of_every_scheme(
    scheme: type[signing.StandardWebhooks | signing.HubSignature],
) -> None:
    """A scheme whose headers the server dropped would answer every honest sender 401."""
    verifier = scheme([SECRET])
    lines = "".join(f"{name}: {value}\r\n" for name, value in verifier.sign(BODY, "msg_1", time.time()).items())
    head = f"POST /webhook/ HTTP/1.1\r\nHost: realmate\r\nContent-Length: {len(BODY)}\r\n{lines}\r\n"
    kept = headers_kept((*OWN_HEADERS, *WEBHOOK_HEADERS))
    [request] = RequestParser(max_head_bytes=9000, max_body_bytes=9000, headers=kept).feed(head.encode() + BODY, 0.0)
    verifier.verify(request.body, request.headers)


def test_while_secrets_rotate_the_old_one_and_the_new_one_pass() -> None:
    both = StandardWebhooks([SECRET, OTHER_SECRET])
    both.verify(BODY, signed(secret=SECRET))
    both.verify(BODY, signed(secret=OTHER_SECRET))
    HubSignature(["x" * 32, APP_SECRET]).verify(BODY, hub())
    with pytest.raises(SignatureRejected):
        StandardWebhooks([OTHER_SECRET]).verify(BODY, signed(secret=SECRET))


def test_a_sender_may_sign_with_several_secrets_at_once() -> None:
    headers = signed()
    others = [signed(secret=OTHER_SECRET)["webhook-signature"], "v1a,ZWQyNTUxOQ=="]
    headers["webhook-signature"] = " ".join([*others, headers["webhook-signature"]])
    StandardWebhooks([SECRET]).verify(BODY, headers)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_without_a_header_it_is_rejected_by_that_header_s_name(name: str) -> None:
    headers = signed()
    del headers[name]
    with pytest.raises(SignatureRejected, match=f"{name} is missing") as caught:
        StandardWebhooks([SECRET]).verify(BODY, headers)
    assert caught.value.reason == "missing"


def test_what_was_changed_on_its_way_is_rejected() -> None:
    assert rejection(signed(), BODY + b" ") == "mismatch"
    assert rejection({**signed(), "webhook-id": "msg_2"}) == "mismatch"
    later = signed()
    later["webhook-timestamp"] = str(int(later["webhook-timestamp"]) + 1)
    assert rejection(later) == "mismatch"
    assert rejection(signed(secret=OTHER_SECRET)) == "mismatch"


def test_a_moment_outside_the_tolerance_is_rejected_both_ways() -> None:
    for ago_s in (295, -295):
        StandardWebhooks([SECRET]).verify(BODY, signed(ago_s=ago_s))
    for ago_s in (305, -305):
        assert rejection(signed(ago_s=ago_s)) == "expired"
    assert rejection(signed(ago_s=20), tolerance_s=10) == "expired"
    assert rejection(signed(ago_s=-20), tolerance_s=10) == "expired"


@pytest.mark.parametrize(
    "moment", ["", "now", "1e9", "nan", "inf", "-1", "1700000000.5", "\uff19" * 10, "9" * 11, " 1"]
)
def test_a_moment_that_is_none_is_rejected(moment: str) -> None:
    assert rejection({**signed(), "webhook-timestamp": moment}) in {"malformed", "missing"}


@pytest.mark.parametrize("cut", [1, 2, 10, 40, 44])
def test_a_truncated_signature_is_rejected(cut: int) -> None:
    headers = signed()
    headers["webhook-signature"] = headers["webhook-signature"][:-cut]
    assert rejection(headers) == "mismatch"
    with pytest.raises(SignatureRejected):
        HubSignature([APP_SECRET]).verify(BODY, {"x-hub-signature-256": hub()["x-hub-signature-256"][:-cut]})


@pytest.mark.parametrize("scheme", ["v0", "V1", "", "none", "v1a", "sha1"])
def test_another_version_of_the_scheme_is_no_way_around_it(scheme: str) -> None:
    headers = signed()
    headers["webhook-signature"] = headers["webhook-signature"].replace("v1", scheme, 1)
    assert rejection(headers) == "mismatch"


def test_a_hub_signature_by_an_older_hash_is_rejected() -> None:
    sha1 = hmac.new(APP_SECRET.encode(), BODY, hashlib.sha1).hexdigest()
    for headers in ({"x-hub-signature": f"sha1={sha1}"}, {"x-hub-signature-256": f"sha1={sha1}"}, {}):
        with pytest.raises(SignatureRejected):
            HubSignature([APP_SECRET]).verify(BODY, headers)


def test_the_hub_scheme_covers_the_body() -> None:
    verifier = HubSignature([APP_SECRET])
    verifier.verify(BODY, hub())
    verifier.verify(BODY, {"x-hub-signature-256": "sha256=" + hub()["x-hub-signature-256"][7:].upper()})
    for body, headers in ((BODY + b" ", hub()), (BODY, hub(secret="f" * 32))):
        with pytest.raises(SignatureRejected):
            verifier.verify(body, headers)


def test_a_header_full_of_signatures_is_rejected_before_they_are_compared() -> None:
    headers = {**signed(), "webhook-signature": "v1,AAAA " * 2_000}
    assert rejection(headers) == "malformed"


def test_the_body_s_bytes_are_signed_whether_they_are_text_or_not() -> None:
    StandardWebhooks([SECRET]).verify(b"\xff\xfe", signed(b"\xff\xfe"))
    assert rejection(signed(b"\xff\xfe"), b"\xff\xff") == "mismatch"


@given(st.dictionaries(st.sampled_from(list(signed())), LATIN), st.binary(max_size=100))
def test_whatever_comes_is_rejected_and_never_an_error(headers: dict[str, str], body: bytes) -> None:
    with pytest.raises(SignatureRejected):
        StandardWebhooks([SECRET]).verify(body, signed(secret=OTHER_SECRET) | headers)


@given(LATIN)
def test_whatever_the_hub_header_is_it_is_rejected_and_never_an_error(value: str) -> None:
    for text in (value, f"sha256={value}"):
        with pytest.raises(SignatureRejected):
            HubSignature([APP_SECRET]).verify(BODY, {"x-hub-signature-256": text})


@pytest.mark.parametrize(
    "secret",
    ["", "whsec_", "whsec_" + base64.b64encode(b"short").decode(), SECRET.removeprefix("whsec_"), "whsec_no base64!"],
)
def test_a_secret_that_would_be_no_lock_is_rejected(secret: str) -> None:
    with pytest.raises(WeakSecret) as caught:
        StandardWebhooks([secret])
    assert not secret or secret not in str(caught.value)
    with pytest.raises(WeakSecret):
        HubSignature(["short"])


@pytest.mark.parametrize(
    ("verifier", "sign"),
    [(StandardWebhooks([SECRET]), signed), (HubSignature([APP_SECRET]), hub)],
    ids=["standard", "hub"],
)
def test_nothing_but_a_comparison_in_constant_time_decides(
    verifier: signing.Verifier, sign: Callable[[], dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = sign()
    compared: list[tuple[bytes, bytes]] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return False

    verifier.verify(BODY, headers)
    monkeypatch.setattr("realmate.sources.signing.hmac.compare_digest", compare)
    with pytest.raises(SignatureRejected):
        verifier.verify(BODY, headers)
    [(one, other)] = compared
    assert one == other  # whole, and not told apart by anything before


def test_no_rejection_tells_a_secret_or_the_right_signature() -> None:
    right = signed()["webhook-signature"].removeprefix("v1,")
    for headers in ({}, signed(secret=OTHER_SECRET), signed(ago_s=900)):
        with pytest.raises(SignatureRejected) as caught:
            StandardWebhooks([SECRET]).verify(BODY, headers)
        told = json.dumps([str(caught.value), repr(caught.value), caught.value.reason])
        assert SECRET not in told
        assert SECRET.removeprefix("whsec_") not in told
        assert right not in told
