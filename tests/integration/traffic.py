"""Senders and readers that never pause while a Realmate is restarted under them, and remember what they saw.

They are well-behaved HTTP clients and no more than that: they keep connections alive, leave one when an answer says
`Connection: close`, and take a 503 for what it says. Whatever else than an answer comes to them is a failure.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from installation import event

SENDERS = 8
READERS = 4
BETWEEN_REQUESTS_S = 0.02
"""Steady, not a flood: it is not capacity that is tested."""
TIMEOUT_S = 20.0

ChoosePort = Callable[[], int]


@dataclass
class Ledger:
    """What all clients of one test saw."""

    promised: dict[uuid.UUID, list[str]] = field(default_factory=dict)
    """The messages answered 2xx, by their conversation."""
    failures: list[str] = field(default_factory=list)
    """Requests without a whole answer, and answers that break the contract."""
    clients: list[Client] = field(default_factory=list)

    @property
    def answers(self) -> Counter[str]:
        """How often each status, with the problem's code where it is one."""
        return sum((client.answers for client in self.clients), Counter[str]())


class Client:
    """One client and its connection, to whichever server `choose_port` names; a new one each time unless `keeps`."""

    def __init__(self, ledger: Ledger, choose_port: ChoosePort, *, keeps: bool) -> None:
        self.answers: Counter[str] = Counter()
        self.ledger = ledger
        self._choose_port = choose_port
        self._keeps = keeps
        self._connection: http.client.HTTPConnection | None = None
        ledger.clients.append(self)

    def insist(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """Ask until the answer is none of those that say "ask again"."""
        while True:
            try:
                status, headers, answer = self._ask(method, path, None if body is None else json.dumps(body))
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.ledger.failures.append(f"{method} {path}: {error!r}")
                self.close()
                status = 503
            else:
                self.answers[f"{status} {answer['code']}" if status >= http.client.BAD_REQUEST else str(status)] += 1
                if status != http.client.SERVICE_UNAVAILABLE:
                    return status, answer
                if "Retry-After" not in headers:
                    self.ledger.failures.append(f"{method} {path}: a 503 without Retry-After")
            time.sleep(0.1)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, method: str, path: str, body: str | None) -> tuple[int, http.client.HTTPMessage, dict[str, Any]]:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._choose_port(), timeout=TIMEOUT_S)
        self._connection.request(method, path, body)
        response = self._connection.getresponse()
        answer: dict[str, Any] = json.loads(response.read())
        if response.will_close or not self._keeps:
            self.close()
        return response.status, response.headers, answer


def send(client: Client, *, until: threading.Event) -> None:
    """Open one conversation after the other, and talk in it."""
    while not until.is_set():
        key = uuid.uuid4()
        _post(client, event("NEW_CONVERSATION", id=str(key)))
        said = [str(uuid.uuid4()) for _ in range(4)]
        for message in said:
            _post(client, event("NEW_MESSAGE", id=message, content="Oi", conversation_id=str(key)))
        client.ledger.promised[key] = said


def read(client: Client, *, until: threading.Event) -> None:
    """Look for what was promised."""
    while not until.is_set():
        time.sleep(BETWEEN_REQUESTS_S)
        promised = list(client.ledger.promised.items())
        if promised:
            key, said = random.choice(promised)
            status, conversation = client.insist("GET", f"/conversations/{key}/")
            if status != http.client.OK or not {each["id"] for each in conversation["messages"]} >= set(said):
                client.ledger.failures.append(f"GET {key}: {status} {conversation}")


def _post(client: Client, body: object) -> None:
    time.sleep(BETWEEN_REQUESTS_S)
    client.insist("POST", "/webhook/", body)


@contextmanager
def traffic(choose_webhook: ChoosePort, choose_query: ChoosePort) -> Iterator[Ledger]:
    """Traffic, for as long as the block lasts. Half of the senders and readers keep their connections."""
    ledger = Ledger()
    over = threading.Event()
    senders = [Client(ledger, choose_webhook, keeps=number % 2 == 0) for number in range(SENDERS)]
    readers = [Client(ledger, choose_query, keeps=number % 2 == 0) for number in range(READERS)]
    threads = [threading.Thread(target=send, args=[client], kwargs={"until": over}) for client in senders]
    threads += [threading.Thread(target=read, args=[client], kwargs={"until": over}) for client in readers]
    for thread in threads:
        thread.start()
    try:
        yield ledger
    finally:
        over.set()
        for thread in threads:
            thread.join()
        for client in ledger.clients:
            client.close()
