"""Readiness asks RabbitMQ to do a tiny piece of the real work: to take a message, through our exchange, with a confirm.

It does so on a connection of its own, which stays open: RabbitMQ tells of an alarm (no memory, no disk) only to a
connection that has published, and takes the first message of each new connection even then. Who asked on a new
connection each time would find RabbitMQ well every other time.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from eventlet.semaphore import Semaphore
from kombu import Connection, Producer

from realmate.runtime.health import NotReady
from realmate.transport.amqp.connections import CONTENT_TYPE, ERRORS, EXCHANGE, abandon, connect
from realmate.transport.amqp.errors import explain

CONFIRM_S = 1.0
NOTICE_S = 0.1
"""RabbitMQ tells a new connection of an alarm right after its first message."""
MAX_AGE_S = 60.0
NOBODY = "rehearsal"
"""A routing key that no queue is bound to."""


class Probe:
    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = Semaphore(1)
        self._connection: Connection | None = None
        self._producer: Any = None
        self._blocked = False
        self._renew_at = 0.0

    def check(self) -> None:
        """Raises NotReady with what RabbitMQ rejects."""
        with self._lock:
            try:
                self._rehearse()
            except ERRORS as error:
                self.close()
                raise explain(error) from error
            except BaseException:  # the check's timeout leaves the connection in the middle of something
                if not self._blocked:
                    self.close()
                raise

    def close(self) -> None:
        if self._connection is not None:
            abandon(self._connection)
        self._connection = None
        self._blocked = False

    def _rehearse(self) -> None:
        if time.monotonic() >= self._renew_at:
            self.close()
        connection = self._connection
        is_new = connection is None
        if connection is None:
            connection = self._open()
        self._look(connection, 0)
        self._raise_if_blocked()
        self._producer.publish(
            b"",
            exchange=EXCHANGE.name,
            routing_key=NOBODY,
            content_type=CONTENT_TYPE,
            content_encoding="binary",
            delivery_mode="transient",
            timeout=CONFIRM_S,
            confirm_timeout=CONFIRM_S,
            retry=False,
        )
        self._look(connection, NOTICE_S if is_new else 0)
        self._raise_if_blocked()

    def _open(self) -> Connection:
        connection = connect(self._url, confirm=True)
        self._connection = connection
        self._renew_at = time.monotonic() + MAX_AGE_S
        connection.connection.on_blocked = self._on_blocked
        connection.connection.on_unblocked = self._on_unblocked
        channel = connection.channel()
        EXCHANGE(channel).declare()
        self._producer = Producer(channel, auto_declare=False)
        return connection

    @staticmethod
    def _look(connection: Connection, timeout_s: float) -> None:
        """Read what RabbitMQ has to tell by itself."""
        with suppress(TimeoutError):
            while True:
                connection.drain_events(timeout=timeout_s)

    def _raise_if_blocked(self) -> None:
        if self._blocked:
            raise NotReady("RabbitMQ has an alarm (no memory, or no disk) and takes no messages")

    def _on_blocked(self, _reason: str) -> None:
        self._blocked = True

    def _on_unblocked(self) -> None:
        self._blocked = False
