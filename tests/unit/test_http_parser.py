from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmate.http_server.known_heads import MAX_HEADS, KnownHeads
from realmate.http_server.parser import OWN_HEADERS, RequestParser, headers_kept
from realmate.http_server.rejections import TIMED_OUT
from realmate.http_server.request import Request
from realmate.wire.responses import Response

HOST = b"Host: realmate\r\n"
POST = b"POST /webhook/ HTTP/1.1\r\n" + HOST


def parser(
    *, max_head_bytes: int = 1000, max_body_bytes: int = 100, known_heads: KnownHeads | None = None
) -> RequestParser:
    headers = headers_kept((*OWN_HEADERS, "authorization", "webhook-id"))
    return RequestParser(
        max_head_bytes=max_head_bytes, max_body_bytes=max_body_bytes, known_heads=known_heads, headers=headers
    )


def feed(incoming: RequestParser, *pieces: bytes) -> list[Request]:
    return [request for piece in pieces for request in incoming.feed(piece, 0.0)]


def rejection(*pieces: bytes) -> int | None:
    """The status with which these bytes are rejected, or None."""
    incoming = parser()
    feed(incoming, *pieces)
    return None if incoming.rejection is None else incoming.rejection.status


def get(target: bytes, headers: bytes = b"") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\n" + HOST + headers + b"\r\n"


def chunked(*lines: bytes) -> bytes:
    return POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"


class TestARequest:
    def test_has_method_path_query_and_body(self) -> None:
        head = b"POST /a/b?x=1&y=%20 HTTP/1.1\r\nHost: h\r\nX-Thing: one \r\nx-thing:two\r\nContent-Length: 3\r\n\r\n"
        [request] = parser().feed(head + b"abc", 12.5)
        assert (request.method, request.path, request.query) == ("POST", "/a/b", "x=1&y=%20")
        assert request.body == b"abc"
        assert request.arrived_at == 12.5
        assert request.keep_alive

    @pytest.mark.parametrize(
        ("target", "path"),
        [
            (b"/caf%C3%A9/%41", "/café/A"),
            (b"/%ff", "/\N{REPLACEMENT CHARACTER}"),
            (b"http://other.example:80/a?b", "/a"),
            (b"http://other.example", "/"),
            (b"HTTP://other.example?b", "/"),
            (b"//a//b", "//a//b"),
        ],
    )
    def test_has_its_path_decoded_and_without_an_authority(self, target: bytes, path: str) -> None:
        [request] = feed(parser(), get(target))
        assert request.path == path

    def test_may_follow_empty_lines(self) -> None:
        assert len(feed(parser(), b"\r\n\r\n" + get(b"/"))) == 1

    def test_may_come_with_the_next_in_one_piece(self) -> None:
        requests = feed(parser(), get(b"/1") + POST + b"Content-Length: 2\r\n\r\nhi" + get(b"/3"))
        assert [(request.path, request.body) for request in requests] == [
            ("/1", b""),
            ("/webhook/", b"hi"),
            ("/3", b""),
        ]

    def test_before_a_malformed_one_still_counts(self) -> None:
        incoming = parser()
        assert len(feed(incoming, get(b"/1") + b"nonsense\r\n\r\n", get(b"/2"))) == 1
        assert incoming.rejection is not None

    def test_may_be_chunked_with_extensions_and_trailers_that_are_dropped(self) -> None:
        [request] = feed(parser(), chunked(b"3;a=b", b"abc", b"2", b"de", b"0", b"Host: evil", b"X-Request-Id: evil"))
        assert request.body == b"abcde"
        assert request.request_id != "evil"

    @pytest.mark.parametrize(
        "body", [b"Content-Length: 3\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"]
    )
    def test_keeps_its_body_when_it_offers_an_upgrade_that_is_ignored(self, body: bytes) -> None:
        offer = (
            b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nX-Request-Id: b\r\n"
        )
        upgrade, following = feed(parser(), POST + offer + body + get(b"/next"))
        assert (upgrade.method, upgrade.path, upgrade.body) == ("POST", "/webhook/", b"abc")
        assert upgrade.request_id == "b"
        assert following.path == "/next"

    def test_takes_the_senders_request_id_if_that_is_sane(self) -> None:
        [request] = feed(parser(), get(b"/", b"X-Request-Id: 01H-trace/7:a+b=_.\r\n"))
        assert request.request_id == "01H-trace/7:a+b=_."

    @pytest.mark.parametrize("insane", [b"a b", b'"quoted"', b"", b"x" * 129, b"\xc3\xa9", b"a\tb"])
    def test_gets_a_new_request_id_if_the_senders_could_harm_a_log(self, insane: bytes) -> None:
        first, second = feed(parser(), get(b"/", b"X-Request-Id: " + insane + b"\r\n") * 2)
        assert re.fullmatch(r"[0-9a-f]+-[0-9a-f]+", first.request_id)
        assert first.request_id != second.request_id


class TestTheConnection:
    @pytest.mark.parametrize(
        ("head", "keep_alive"),
        [
            (b"GET / HTTP/1.1\r\nHost: h\r\n", True),
            (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n", False),
            (b"GET / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, close\r\n", False),
            (b"GET / HTTP/1.0\r\n", False),
            (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", True),
        ],
    )
    def test_is_kept_alive_as_the_version_and_the_sender_say(self, head: bytes, *, keep_alive: bool) -> None:
        incoming = parser()
        [request] = feed(incoming, head + b"\r\n")
        assert request.keep_alive is keep_alive
        assert incoming.finished is not keep_alive

    def test_ignores_what_follows_the_last_request(self) -> None:
        last = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        for pieces in ([last + get(b"/2")], [last, get(b"/2")]):
            incoming = parser()
            assert len(feed(incoming, *pieces)) == 1
            assert incoming.rejection is None

    def test_knows_when_the_request_under_way_began(self) -> None:
        incoming = parser()
        assert incoming.began_at is None
        incoming.feed(b"GET / HT", 1.0)
        incoming.feed(b"TP/1.1\r\n", 2.0)
        assert incoming.began_at == 1.0
        incoming.feed(HOST + b"\r\nGET", 3.0)
        assert incoming.began_at == 3.0
        incoming.feed(b" / HTTP/1.1\r\n" + HOST + b"\r\n", 4.0)
        assert incoming.began_at is None

    def test_rejects_a_request_that_takes_too_long(self) -> None:
        incoming = parser()
        feed(incoming, b"GET /")
        incoming.give_up(TIMED_OUT)
        assert incoming.rejection is not None
        assert incoming.rejection.status == 408
        assert feed(incoming, b" HTTP/1.1\r\n" + HOST + b"\r\n") == []


class TestExpectContinue:
    HEAD = POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"

    def test_is_awaited_until_the_body_comes(self) -> None:
        incoming = parser()
        feed(incoming, self.HEAD)
        assert incoming.awaits_continue
        feed(incoming, b"a")
        assert not incoming.awaits_continue
        assert [request.body for request in feed(incoming, b"bc")] == [b"abc"]

    def test_needs_no_answer_when_the_body_came_along(self) -> None:
        incoming = parser()
        assert len(feed(incoming, self.HEAD + b"abc")) == 1
        assert not incoming.awaits_continue

    def test_does_not_ask_for_a_body_that_is_too_large(self) -> None:
        assert rejection(POST + b"Expect: 100-continue\r\nContent-Length: 101\r\n\r\n") == 413

    def test_means_nothing_in_http_1_0(self) -> None:
        incoming = parser()
        feed(incoming, b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert not incoming.awaits_continue


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        (400, b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        (400, POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
        (400, POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
        (400, POST + b"Content-Length: 3, 3\r\n\r\nabc"),
        (400, POST + b"Content-Length: +3\r\n\r\nabc"),
        (400, POST + b"Content-Length: -3\r\n\r\nabc"),
        (400, POST + b"Content-Length: 0x3\r\n\r\nabc"),
        (400, POST + b"Content-Length:\r\n\r\nabc"),
        (400, POST + b"Content-Length: 99999999999999999999\r\n\r\nabc"),
        (400, POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
        (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (501, POST + b"Transfer-Encoding: gzip\r\n\r\nabc"),
        (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (501, POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        (400, chunked(b"zz", b"abc", b"0")),
        (400, chunked(b"-3", b"abc", b"0")),
        (400, chunked(b"2", b"abc", b"0")),
        (400, chunked(b"fffffffffffffffff", b"abc", b"0")),
        (400, POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n"),
        (417, POST + b"Expect: 200-ok\r\nContent-Length: 3\r\n\r\n"),
        (400, get(b"/%zz")),
        (400, get(b"/%4")),
        (400, get(b"/a#b")),
        (400, get(b"/\xc3\xa9")),
        (400, get(b"/a b")),
        (400, b"GET / HTTP/1.1\nHost: a\n\n"),
        (400, get(b"/", b"Broken : x\r\n")),
        (400, get(b"/", b"Folded: x\r\n y\r\n")),
        (400, get(b"/", b"Nul: a\0b\r\n")),
        (400, get(b"/", b"Bare: a\rb\r\n")),
        (505, b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
        (505, b"GET / HTTP/0.9\r\n\r\n"),
        (505, b"GET /\r\n\r\n"),
        (400, b"GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
        (501, b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"),
        (501, b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, b"GET / RTSP/1.0\r\nHost: a\r\n\r\n"),
        (400, b"GET /  RTSP/1.0\r\nHost: a\r\n\r\n"),
        (400, b"\r\nPOST / RTSP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
        (400, b"DESCRIBE rtsp://a/b RTSP/1.0\r\nHost: a\r\n\r\n"),
        (400, b"SOURCE / ICE/1.0\r\nHost: a\r\n\r\n"),
        (501, b"SOURCE / HTTP/1.1\r\nHost: a\r\n\r\n"),
        (400, get(b"/1") + b"GET / RTSP/1.0\r\nHost: a\r\n\r\n"),
        (501, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ],
)
def test_what_can_be_read_in_two_ways_or_not_at_all_is_rejected(status: int, sent: bytes) -> None:
    assert rejection(sent) == status
    assert rejection(*(sent[i : i + 1] for i in range(len(sent)))) == status


def test_a_header_that_speaks_of_rtsp_may_come_in_a_piece_of_its_own() -> None:
    assert rejection(b"GET / HTTP/1.1\r\n" + HOST + b"X-Proto", b": use RTSP/1.0\r\n\r\n") is None
    assert rejection(b"GET / HTTP/1.1\r\n", HOST + b"X-Proto: use RTSP/1.0\r\n\r\n") is None
    assert rejection(b"GET / HT", b"TP/1.1\r\n" + HOST + b"X-Proto: use RTSP/1.0\r\n\r\n") is None
    assert rejection(b"GET /", b" RTSP/1.0\r\n" + HOST + b"\r\n") == 400
    assert rejection(b"\r\nGET /a", b"b RT", b"SP/1.0\r\n" + HOST + b"\r\n") == 400


@pytest.mark.parametrize("size", [1, 3, 8, 1000])
def test_a_request_may_speak_of_rtsp_wherever_it_is_not_its_protocol(size: int) -> None:
    body = b"GET / RTSP/1.0\r\nSOURCE / ICE/1.0\r\n"
    head = b"POST /a?RTSP/1.0 HTTP/1.1\r\nHost: h\r\nVia: GET / RTSP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body)
    sent = (head + body) * 2
    incoming = parser()
    requests = feed(incoming, *(sent[i : i + size] for i in range(0, len(sent), size)))
    assert [request.body for request in requests] == [body, body]
    assert incoming.rejection is None


class TestARejectionAtTheHead:
    """What `admit` rejects is not read; a body that is small is dropped, so that the connection can go on."""

    NO = Response(401, b"")

    def parser(self, decision: Response | int) -> RequestParser:
        return RequestParser(max_head_bytes=1000, max_body_bytes=1_000_000, admit=lambda *_: decision)

    def test_comes_before_a_large_body(self) -> None:
        incoming = self.parser(self.NO)
        assert feed(incoming, POST + b"X-Request-Id: i\r\nContent-Length: 70000\r\n\r\n") == []
        assert incoming.rejection is self.NO
        assert incoming.rejected is not None
        assert incoming.rejected.request_id == "i"

    @pytest.mark.parametrize(
        "head",
        [
            b"Transfer-Encoding: chunked\r\n\r\n",
            b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n",
        ],
    )
    def test_comes_before_a_body_of_unknown_size_and_one_that_is_held_back(self, head: bytes) -> None:
        incoming = self.parser(self.NO)
        feed(incoming, POST + head)
        assert incoming.rejection is self.NO

    def test_drops_a_small_body_and_takes_the_next_request(self) -> None:
        incoming = self.parser(self.NO)
        requests = feed(incoming, POST + b"Content-Length: 3\r\n\r\nab", b"c" + get(b"/2"))
        assert [(request.rejection, request.body) for request in requests] == [(self.NO, b"")] * 2
        assert incoming.rejection is None

    def test_knows_how_large_a_body_may_be(self) -> None:
        for limit, length, status in ((10, 10, None), (10, 70_000, 413), (0, 70_000, 413)):
            incoming = self.parser(limit)
            feed(incoming, POST + b"Content-Length: %d\r\n\r\n" % length)
            assert (incoming.rejection and incoming.rejection.status) == status
        incoming = self.parser(10)
        feed(incoming, chunked(b"b", b"12345678901"))
        assert incoming.rejection is not None
        assert incoming.rejection.status == 413

    def test_drops_the_body_of_a_request_that_needs_none(self) -> None:
        [request] = feed(self.parser(0), POST + b"Content-Length: 3\r\n\r\nabc")
        assert (request.rejection, request.body) == (None, b"")


class TestARequestWhoseHeadCameBefore:
    """Its head is not parsed again. (That nothing else differs is a property: the target in tests/fuzz.)"""

    HEAD = POST + b"Content-Length: 5\r\n\r\n"

    def test_has_a_body_and_an_id_of_its_own(self) -> None:
        known_heads = KnownHeads()
        first, second = feed(parser(known_heads=known_heads), self.HEAD + b"first", self.HEAD + b"later")
        [third] = feed(parser(known_heads=known_heads), self.HEAD + b"other")
        assert [request.body for request in (first, second, third)] == [b"first", b"later", b"other"]
        assert len({request.request_id for request in (first, second, third)}) == 3
        assert first.held_bytes == second.held_bytes
        assert second.handler is None

    def test_is_asked_for_each_time_whether_it_is_wanted(self) -> None:
        decisions: list[Response | int] = [100, Response(404, b""), 3, 0]
        incoming = RequestParser(
            max_head_bytes=1000, max_body_bytes=100, admit=lambda _request, _announced: decisions.pop(0)
        )
        taken, unknown, too_large, dropped = feed(incoming, *[self.HEAD + b"12345"] * 4)
        assert (taken.body, taken.rejection) == (b"12345", None)
        assert (unknown.body, unknown.rejection and unknown.rejection.status) == (b"", 404)
        assert (too_large.body, too_large.rejection and too_large.rejection.status) == (b"", 413)
        assert (dropped.body, dropped.rejection) == (b"", None)

    @pytest.mark.parametrize("after", [b"", b"1234", b"12345GET / HTTP/1.1\r\n"])
    def test_may_still_come_in_pieces_or_with_another(self, after: bytes) -> None:
        incoming = parser()
        feed(incoming, self.HEAD + b"12345")
        requests = feed(incoming, self.HEAD + after, (b"12345GET / HTTP/1.1\r\n" + HOST + b"\r\n")[len(after) :])
        assert [(request.path, request.body) for request in requests] == [("/webhook/", b"12345"), ("/", b"")]

    @pytest.mark.parametrize("own", [b"Authorization: Bearer secret\r\n", b"X-Request-Id: 1\r\n", b"Webhook-Id: 1\r\n"])
    def test_is_not_kept_with_a_secret_or_what_belongs_to_one_request(self, own: bytes) -> None:
        known_heads = KnownHeads()
        sent = POST + own + b"Content-Length: 2\r\n\r\nhi"
        feed(parser(known_heads=known_heads), sent)
        assert known_heads.find(sent) is None

    def test_is_one_of_a_bounded_number(self) -> None:
        known_heads = KnownHeads()
        sent = [b"POST /%d HTTP/1.1\r\n%sContent-Length: 1\r\n\r\nx" % (n, HOST) for n in range(MAX_HEADS + 1)]
        feed(parser(known_heads=known_heads), *sent)
        assert sum(known_heads.find(piece) is not None for piece in sent) <= MAX_HEADS
        assert known_heads.find(sent[-1]) is not None


class TestLimits:
    def test_a_head_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(self) -> None:
        counted = len(b"/") + len(b"Hostrealmate: \r\n") + len(b"A: \r\n")
        assert rejection(get(b"/", b"A: " + b"x" * (1000 - counted) + b"\r\n")) is None
        assert rejection(get(b"/", b"A: " + b"x" * (1001 - counted) + b"\r\n")) == 431

    @pytest.mark.parametrize(
        "endless",
        [
            b"GET /" + b"a" * 1001,
            b"GET / HTTP/1.1\r\nA: " + b"x" * 1001,
            b"GET / HTTP/1.1\r\n" + b"x" * 1001,
            b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200,
            b"GET / HTTP/1.1\r\nA:" + b" " * 1001,
            POST + b"Transfer-Encoding: chunked\r\n\r\n1;ext=" + b"x" * 1001,
            POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nTrailer: " + b"x" * 1001,
            POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1;longextension\r\nx\r\n" * 99,
        ],
    )
    def test_heads_extensions_and_trailers_without_end_are_rejected(self, endless: bytes) -> None:
        assert rejection(endless) == 431
        assert rejection(*(endless[i : i + 7] for i in range(0, len(endless), 7))) == 431

    def test_a_body_is_rejected_by_its_announced_length_before_it_comes(self) -> None:
        assert rejection(POST + b"Content-Length: 100\r\n\r\n") is None
        assert rejection(POST + b"Content-Length: 101\r\n\r\n") == 413

    def test_a_chunked_body_is_rejected_when_it_has_grown_too_large(self) -> None:
        chunk = b"a\r\n0123456789\r\n"
        head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
        assert rejection(head + chunk * 10) is None
        assert rejection(head + chunk * 10, b"1\r\nx\r\n") == 413

    def test_a_body_in_chunks_of_one_byte_is_taken(self) -> None:
        incoming = parser(max_body_bytes=5000)
        sent = POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 5000 + b"0\r\n\r\n"
        [request] = feed(incoming, *(sent[i : i + 50] for i in range(0, len(sent), 50)))
        assert request.body == b"x" * 5000


TOKEN = st.text("abcdefgXYZ-", min_size=1, max_size=12).map(lambda name: f"X-{name}".encode())
VALUE = st.binary(max_size=20).map(lambda raw: re.sub(rb"[^\x21-\x7e]", b".", raw))
BODY = st.binary(max_size=60)


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A valid request: any target, headers and body, by length or in chunks."""
    body = draw(BODY)
    lines = [b"POST /" + draw(st.text("ab/", max_size=9)).encode() + b" HTTP/1.1", b"Host: h"]
    lines += [name + b": " + value for name, value in draw(st.lists(st.tuples(TOKEN, VALUE), max_size=4))]
    if draw(st.booleans()):
        return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"", body])
    size = draw(st.integers(1, 9))
    chunks = [body[i : i + size] for i in range(0, len(body), size)]
    coded = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in [*chunks, b""])
    return b"\r\n".join([*lines, b"Transfer-Encoding: chunked", b"", coded])


def seen(requests: list[Request]) -> list[tuple[str, bool, bytes]]:
    return [(request.path, request.keep_alive, request.body) for request in requests]


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(at % (len(stream) + 1) for at in cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(messages(), min_size=1, max_size=4), st.lists(st.integers(0, 5000), max_size=12))
def test_however_the_bytes_are_split_the_same_requests_come_out(sent: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(sent)
    whole, pieces = parser(), parser()
    expected = seen(feed(whole, stream))
    assert len(expected) == len(sent)
    assert seen(feed(pieces, *cut(stream, cuts))) == expected
    assert pieces.rejection is None


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=6))
def test_any_bytes_at_all_give_requests_or_a_rejection_or_a_wish_for_more(noise: bytes, cuts: list[int]) -> None:
    incoming = parser()
    for piece in cut(noise, cuts):
        for request in incoming.feed(piece, 0.0):
            assert len(request.body) <= 100
    assert incoming.rejection is None or 400 <= incoming.rejection.status <= 505
