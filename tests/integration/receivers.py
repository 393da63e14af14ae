"""A receiver of outbound webhooks: a real HTTP server, which keeps what it got and answers what the test says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from signatures import SECRET

PATIENCE_S = 30.0


class Answer(NamedTuple):
    status: int = 204
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


class Got(NamedTuple):
    """One request that was signed as it should be."""

    headers: dict[str, str]
    event: dict[str, Any]
    at: float
    answer: Answer

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def told(self) -> str:
        """The type, the message's position where there is one, and whether something is missing before it."""
        message = self.event["data"].get("message")
        place = f" {message['position']}" if message else ""
        return f"{self.event['type']}{place}{' gap' if self.event.get('gap') else ''}"


class Receiver(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, secrets: Sequence[str] = (SECRET,)) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.secrets = list(secrets)
        self.answer: Callable[[dict[str, Any]], Answer] = lambda _: Answer()
        self.requests: list[Got] = []
        self.forged = 0
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"

    @property
    def taken(self) -> list[Got]:
        """What it answered 2xx."""
        return [each for each in self.requests if 200 <= each.answer.status <= 299]

    def told(self, conversation: str | None = None, *, only_taken: bool = False) -> list[str]:
        """What came, or what was taken, about a conversation, in the order of its coming."""
        found = self.taken if only_taken else list(self.requests)
        return [each.told for each in found if conversation in {None, each.event["conversation_id"]}]


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"
    timeout = 20

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = self._judge(body, headers)
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.status >= 200 and answer.status != 204:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body if answer.status != 204 else b"")

    def _judge(self, body: bytes, headers: dict[str, str]) -> Answer:
        server = self.server
        for secret in server.secrets:
            try:
                event = Webhook(secret).verify(body, headers)
                break
            except WebhookVerificationError:
                continue
        else:
            server.forged += 1
            return Answer(401)
        with server.lock:
            server.at_once += 1
            server.most_at_once = max(server.at_once, server.most_at_once)
        try:
            answer = server.answer(event)
        finally:
            with server.lock:
                server.at_once -= 1
        server.requests.append(Got(headers, event, time.monotonic(), answer))
        return answer

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiving(*secrets: str) -> Iterator[Receiver]:
    receiver = Receiver(secrets or (SECRET,))
    thread = threading.Thread(target=receiver.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        receiver.server_close()
        thread.join()


def until(look: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """Return what `look` finds, as soon as it finds anything."""
    give_up_at = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < give_up_at
        time.sleep(0.05)
    return found
