"""What is thrown at what a stranger can reach: each target takes any bytes, and raises where a law is broken.

hypothesis runs them with the other tests (test_targets.py); atheris, which sees what each input reaches and looks for
more, runs them for minutes (`make fuzz`).
"""

from __future__ import annotations

import base64
import codecs
import hmac
import json
import time
from collections.abc import Callable

import h11

from realmate.http_server.known_heads import KnownHeads
from realmate.http_server.parser import RequestParser
from realmate.http_server.request import Request
from realmate.sources.signing import HubSignature, SignatureRejected, StandardWebhooks
from realmate.sources.tokens import TokenRejected, Tokens
from realmate.wire import webhook
from realmate.wire.commands import Command, RejectedCommand
from realmate.wire.webhook import InvalidEvent, InvalidJson

MAX_HEAD_BYTES, MAX_BODY_BYTES = 1000, 200
KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()

ID = b"6a41b347-8d80-4ce9-84ba-7af66f369f6a"

STANDARD, HUB, NOBODY = StandardWebhooks([SECRET]), HubSignature([SECRET]), Tokens([])


def requests_in_pieces(data: bytes) -> None:
    """However the bytes are cut, the same requests come out; the first byte says how large the pieces are."""
    size, sent = (data[0] if data else 0) + 1, data[1:]
    whole, pieces = _parser(), _parser()
    at_once = whole.feed(sent, 0.0)
    one_by_one = [
        request for start in range(0, len(sent), size) for request in pieces.feed(sent[start : start + size], 0.0)
    ]
    if 431 in (whole.rejection and whole.rejection.status, pieces.rejection and pieces.rejection.status):
        return  # framing without end is counted by pieces
    assert [_told(request) for request in at_once] == [_told(request) for request in one_by_one]
    assert (whole.rejection is None) == (pieces.rejection is None)


def requests_whose_head_came_before(data: bytes) -> None:
    """A request is the same whether its head is parsed, or known from an earlier one, and so is what follows it."""
    known_heads = KnownHeads()
    learning, knowing = _parser(known_heads), _parser(known_heads)
    assert [_told(request) for request in learning.feed(data, 0.0)] == [
        _told(request) for request in knowing.feed(data, 0.0)
    ]
    assert (learning.rejection, learning.finished) == (knowing.rejection, knowing.finished)
    assert [_told(request) for request in learning.feed(data, 0.0)] == [
        _told(request) for request in knowing.feed(data, 0.0)
    ]


def requests_as_others_read_them(data: bytes) -> None:
    """A request that h11 takes, too, is the same to both: what a proxy lets through is not another request here."""
    parser = _parser()
    ours = next(iter(parser.feed(data, 0.0)), None)
    theirs = _by_h11(data)
    if ours is None or theirs is None:
        return
    method, target, body = theirs
    assert ours.method == method
    assert ours.body == body
    assert target.partition("?")[2] == ours.query


def events(data: bytes) -> None:
    """Every reader of JSON finds in an event what we find, and a command's own event asks for that command.

    How the id and the moment are written, and a byte order mark, make no difference to whether it is taken, and neither
    does it whether the fields are decoded at once or one by one.
    """
    outcome = _outcome(data)
    assert _outcome(data, webhook.examine) == outcome
    if not data.startswith(codecs.BOM_UTF8):
        assert _outcome(codecs.BOM_UTF8 + data) == outcome
    assert type(_outcome(data.replace(b'Z"', b'+00"'))) is type(outcome)
    if not isinstance(outcome, str | RejectedCommand):
        assert webhook.parse_event(webhook.encode_event(outcome), "id") == outcome
        assert _content(data) == getattr(outcome, "content", None)


def signatures(data: bytes) -> None:
    """Whoever does not know the secret is rejected, and only ever rejected; an honest header next to others is not."""
    id_, timestamp, signature, body = (data.split(b"\0", 3) + [b""] * 4)[:4]
    headers = {
        "webhook-id": id_.decode("latin-1"),
        "webhook-timestamp": timestamp.decode("latin-1"),
        "webhook-signature": signature.decode("latin-1"),
        "x-hub-signature-256": signature.decode("latin-1"),
    }
    assert not _admitted(STANDARD, body, headers)
    assert not _admitted(HUB, body, headers)
    now = str(int(time.time()))
    signed = b".".join((id_, now.encode(), body))
    honest = "v1," + base64.b64encode(hmac.digest(KEY, signed, "sha256")).decode()
    fits = len(signature) + len(honest) < 1000
    headers |= {"webhook-timestamp": now, "webhook-signature": f"{headers['webhook-signature']} {honest}"}
    assert _admitted(STANDARD, body, headers) == (bool(id_) and fits)
    assert not _admitted(STANDARD, body + b" ", headers)


def tokens(data: bytes) -> None:
    """No header admits where nobody has a token."""
    try:
        NOBODY.holder(data.decode("latin-1"), "read")
    except TokenRejected:
        return
    raise AssertionError("admitted")


SEEDS: dict[Callable[[bytes], None], list[bytes]] = {
    requests_whose_head_came_before: [
        b"POST /webhook/ HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        b"\r\nPOST /webhook/ HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
        b"POST /w/ HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\n{}",
    ],
    requests_in_pieces: [
        b"\x05POST /webhook/ HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\x01POST /w/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nx: y\r\n\r\n",
        b"\x20GET /a%41?b HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        b"\x09POST / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 1\r\n\r\nx",
    ],
    requests_as_others_read_them: [
        b"POST /w/?a=b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /w/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nx: y\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ],
    events: [
        b'{"type":"NEW_MESSAGE","x":1e999,"timestamp":"2025-06-04T14:20:00Z","data":{"id":1,"id":"%s","content":"a","content":"b","conversation_id":"%s"}}'
        % (ID, ID),
        b'{"type":"NEW_CONVERSATION","timestamp":"2025-06-04T14:20:00Z","data":{"id":"%s"}}' % ID,
        b'{"type":"NEW_MESSAGE","timestamp":"20250604T142000,5+03","data":{"id":"{%s}","content":"Ol\\u00e1","conversation_id":"urn:uuid:%s"}}'
        % (ID.upper(), ID),
        b'{"type":"CLOSE_CONVERSATION","timestamp":"2025-06-04","data":{"id":1}}',
    ],
    signatures: [b"msg_1\x001700000000\0v1,AAAA v1a,BBBB\0{}", b"\0\0sha256=00\0"],
    tokens: [b"Bearer rmt_AAAA", b"Basic YTpi"],
}
TARGETS = {target.__name__: target for target in SEEDS}


def _parser(known_heads: KnownHeads | None = None) -> RequestParser:
    return RequestParser(max_head_bytes=MAX_HEAD_BYTES, max_body_bytes=MAX_BODY_BYTES, known_heads=known_heads)


def _told(request: Request) -> tuple[object, ...]:
    return request.method, request.path, request.query, request.body, dict(request.headers), request.keep_alive


def _by_h11(data: bytes) -> tuple[str, str, bytes] | None:
    """Method, target and body of the first request, if h11 takes it."""
    connection = h11.Connection(h11.SERVER)
    method, target, body = "", "", b""
    try:
        connection.receive_data(data)
        while True:
            match connection.next_event():
                case h11.Request() as request:
                    method, target = request.method.decode(), request.target.decode("latin-1")
                case h11.Data() as piece:
                    body += bytes(piece.data)
                case h11.EndOfMessage():
                    return method, target, body
                case _:
                    return None
    except h11.RemoteProtocolError:
        return None


def _outcome(data: bytes, parse: Callable[[bytes, str], Command] = webhook.parse_event) -> Command | str:
    try:
        return parse(data, "id")
    except (InvalidJson, InvalidEvent) as rejected:
        return type(rejected).__name__


def _content(data: bytes) -> object:
    """The content of a message as Python's own reader of JSON sees it. (Numbers are left as they are written.)"""
    event = json.loads(data.decode("utf-8-sig"), parse_int=str)
    return event["data"]["content"] if event["type"] == "NEW_MESSAGE" else None


def _admitted(verifier: StandardWebhooks | HubSignature, body: bytes, headers: dict[str, str]) -> bool:
    try:
        verifier.verify(body, headers)
    except SignatureRejected:
        return False
    return True
