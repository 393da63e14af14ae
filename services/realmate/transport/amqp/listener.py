"""A consuming connection to RabbitMQ that is kept alive for as long as its service lives. Both ends have one.

One greenlet reads. Any may write, in turn: acknowledgements, and responses, which nobody confirms. One ticks: it sends
the heartbeats, hangs up on a broker that sends none, and notes when the socket was known to be empty.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import eventlet
import structlog
from amqp.exceptions import ConsumerCancelled
from eventlet.event import Event
from eventlet.patcher import original
from eventlet.semaphore import Semaphore
from kombu import Connection

from realmate.runtime.loops import loops
from realmate.transport.amqp.connections import ANSWER_TIMEOUT_S, DELETION_S, ERRORS, abandon, connect
from realmate.transport.amqp.errors import explain
from realmate.transport.broker_state import BrokerState

TICK_S = 0.1
LOOK_AGAIN_S = 5.0
CLOSE_TIMEOUT_S = 1.0
ACTIVITY = "consume"

log = structlog.get_logger(__name__)

_poll: Any = original("select").poll

Consume = Callable[[Connection, Any], None]
"""Declares and starts consuming, on a new connection and its channel. May raise one of ERRORS."""


class Listener:
    def __init__(self, url: str, *, heartbeat_s: int, consume: Consume, broker: BrokerState) -> None:
        self._url = url
        self._heartbeat_s = heartbeat_s
        self._consume = consume
        self._broker = broker
        self._connection: Connection | None = None
        self._connected = Event()
        self._writing = Semaphore(1)
        self.channel: Any = None
        """The present one; None while there is no connection."""
        self.silent_since = 0.0
        """time.monotonic() when nothing unread was here: what is read now has come since."""
        self._reader = loops.spawn("read from RabbitMQ", self._read)
        self._ticker = loops.spawn("send heartbeats", self._tick)

    def wait(self) -> None:
        """Return when there is a connection."""
        while self.channel is None:
            self._connected.wait()

    def write(self, command: Callable[[Any], object]) -> None:
        """Run what only writes on the channel. Raises one of ERRORS; the connection is lost then."""
        with self._writing:
            channel = self.channel
            if channel is None:
                raise ConnectionError("no connection to RabbitMQ")
            try:
                command(channel)
            except BaseException:  # half a frame may be written
                self.hang_up()
                raise

    def check(self) -> None:
        """Raise NotReady unless there is a connection."""
        if self.channel is None:
            error = self._broker.failure_of(ACTIVITY)
            raise explain(error) from error

    def hang_up(self) -> None:
        """Begin anew: the reader finds the end of the stream, and does the rest."""
        connection = self._connection
        if connection is not None and connection.connected:
            connection.connection.transport.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Say goodbye; what was not acknowledged goes to others."""
        self._ticker.kill()
        self._reader.kill()
        if self._connection is not None:
            with suppress(*ERRORS), eventlet.Timeout(CLOSE_TIMEOUT_S, TimeoutError()):
                self._connection.release()

    def _read(self) -> None:
        while True:
            connection = self._broker.retry(ACTIVITY, self._open)
            try:
                while True:
                    self._drain(connection)
            except ERRORS as error:
                self._broker.record_failure(ACTIVITY, error)
                if isinstance(error, ConsumerCancelled):
                    eventlet.sleep(DELETION_S)
            except Exception as error:
                # Properties that no client library writes. The message comes again until the broker gives it up.
                log.exception("unreadable frame from RabbitMQ: connecting anew")
                self._broker.record_failure(ACTIVITY, error)
                eventlet.sleep(DELETION_S)
            self._connection = self.channel = None
            self._connected = Event()
            abandon(connection)

    def _drain(self, connection: Connection) -> None:
        loops.heartbeat()
        with suppress(TimeoutError):  # nothing came: the ticker finds out whether the broker is there at all
            connection.drain_events(timeout=LOOK_AGAIN_S)

    def _open(self) -> Connection:
        connection = connect(self._url, heartbeat_s=self._heartbeat_s)
        try:
            # Or each publishing would read from the connection first, from under the reader.
            connection.connection.client_properties["capabilities"]["connection.blocked"] = False
            channel = connection.channel()
            self.silent_since = time.monotonic()
            with eventlet.Timeout(2 * ANSWER_TIMEOUT_S, TimeoutError("RabbitMQ answers, but its queue does not")):
                self._consume(connection, channel)
        except BaseException:
            abandon(connection)
            raise
        self._connection, self.channel = connection, channel
        self._connected.send()
        return connection

    def _tick(self) -> None:
        while True:
            loops.heartbeat()
            eventlet.sleep(TICK_S)
            connection = self._connection
            if connection is None:
                continue
            self._note_silence(connection)
            try:
                with eventlet.Timeout(ANSWER_TIMEOUT_S, TimeoutError("RabbitMQ reads nothing")), self._writing:
                    connection.heartbeat_check()
            except ERRORS:
                self.hang_up()

    def _note_silence(self, connection: Connection) -> None:
        now = time.monotonic()
        if _readable(connection):
            eventlet.sleep(0)  # under load there is nearly always something: the reader takes it, then there is not
        if not _readable(connection):
            self.silent_since = now


def _readable(connection: Connection) -> bool:
    if not connection.connected:
        return False
    poll = _poll()
    poll.register(connection.connection.transport.sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))
