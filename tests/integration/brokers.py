"""The brokers behind the transport, as its tests look at them: Valkey and RabbitMQ, real ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import amqp
import kombu
import redis
from amqp.exceptions import NotFound

from installation import QUEUE_REGISTERED_S
from rabbitmq import RabbitMQ
from realmate.local.child import Child
from realmate.local.valkey import Valkey
from realmate.transport.amqp.envelopes import decode_request, encode_request
from transport_processes import eventually

STREAM = "realmate:commands"
GROUP = "conversations"
EXCHANGE = "nameko-rpc"
QUEUE = "rpc-conversations"
ROUTING_KEY = "conversations.apply"
TO_QUEUE: dict[str, Any] = {"exchange": EXCHANGE, "routing_key": ROUTING_KEY, "mandatory": True}


class Broker(Protocol):
    name: str
    """As it stands in the logs: `redis lost`, `rabbitmq back`."""

    @property
    def server(self) -> Child: ...

    @property
    def url(self) -> str: ...

    def empty(self) -> None:
        """Make it as new."""

    def waiting(self) -> int:
        """Batches that nobody has answered yet, as far as the broker tells: RabbitMQ leaves out those delivered."""

    def consumers(self) -> int:
        """Consumers that are there."""

    def put_rubbish(self) -> None:
        """Send what no caller sends."""

    def put(self, **forged: object) -> None:
        """Send a batch of which some fields are forged; None: the field is left out."""

    def set_aside(self) -> list[bytes]:
        """The payloads of the batches that were set aside, as the broker has them."""

    def kill(self) -> None:
        """Kill -9, of a server that will be started again."""


class RedisBroker:
    name = "redis"

    def __init__(self, server: Valkey) -> None:
        self.server = server
        self.client = redis.Redis.from_url(server.url, protocol=2)

    @property
    def url(self) -> str:
        return self.server.url

    def empty(self) -> None:
        self.client.flushall()

    def waiting(self) -> int:
        return self.client.xlen(STREAM)

    def consumers(self) -> int:
        return len(self.client.xinfo_consumers(STREAM, GROUP))

    def put_rubbish(self) -> None:
        self.client.xadd(STREAM, {"from": "another world"})

    def put(self, **forged: object) -> None:
        fields = {"id": "forged", "reply": "realmate:replies:forged", "attempt": 1, "timeout_ms": 5000, "payload": b"x"}
        self.client.xadd(STREAM, {k: v for k, v in (fields | forged).items() if v is not None})  # type: ignore[misc]

    def set_aside(self) -> list[bytes]:
        return [fields[b"payload"] for _, fields in self.stored("realmate:set-aside")]

    def stored(self, stream: str = STREAM) -> list[tuple[bytes, dict[Any, Any]]]:
        """The entries of a stream and their fields."""
        entries: Any = self.client.xrange(stream)
        return list(entries)

    def kill(self) -> None:
        self.server.kill()


class RabbitBroker:
    name = "rabbitmq"

    def __init__(self, server: RabbitMQ) -> None:
        self.server = server

    @property
    def url(self) -> str:
        return self.server.url

    def empty(self) -> None:
        with kombu.Connection(self.url) as connection:
            connection.channel().queue_delete(QUEUE)
            connection.channel().queue_delete("realmate.set-aside")

    def waiting(self) -> int:
        return self._look()[0]

    def consumers(self) -> int:
        return self._look()[1]

    def put_rubbish(self) -> None:
        self.publish({"from": "another world"}, serializer="json")

    def put(self, **forged: object) -> None:
        fields = {"id": "forged", "reply": "forged", "attempt": 1, "timeout_ms": "5000", "payload": b"x"} | forged
        properties = {"correlation_id": fields["id"], "reply_to": fields["reply"], "expiration": fields["timeout_ms"]}
        message = amqp.Message(
            encode_request(fields["payload"]) if isinstance(fields["payload"], bytes) else fields["payload"],
            content_type=fields.get("content_type", "application/x-msgpack"),
            application_headers={"realmate.attempt": fields["attempt"]}
            | ({"realmate.seal": fields["seal"]} if "seal" in fields else {}),
            **{key: value for key, value in properties.items() if value is not None},
        )
        self._publish(lambda channel: channel.basic_publish_confirm(message, **TO_QUEUE))

    def set_aside(self) -> list[bytes]:
        found = []
        with kombu.Connection(self.url) as connection:
            channel = connection.channel()
            while message := channel.basic_get("realmate.set-aside", no_ack=True):
                found.append(decode_request(message.body))
        return found

    def kill(self) -> None:
        time.sleep(QUEUE_REGISTERED_S)
        self.server.kill()

    def publish(self, body: object, *, serializer: str) -> None:
        """A message of somebody else's, to the commands' queue."""
        self._publish(lambda channel: kombu.Producer(channel).publish(body, serializer=serializer, **TO_QUEUE))

    def _publish(self, publish: Callable[[Any], object]) -> None:
        """A consumer that has started may not have bound its queue yet: then the broker returns what is mandatory."""

        def reaches_queue() -> bool:
            with kombu.Connection(self.url, transport_options={"confirm_publish": True}) as connection:
                try:
                    publish(connection.channel())
                except amqp.ChannelError:
                    return False
                return True

        assert eventually(reaches_queue)

    def _look(self) -> tuple[int, int]:
        """Messages that are ready, and consumers."""
        with kombu.Connection(self.url) as connection:
            try:
                _, messages, consumers = connection.channel().queue_declare(QUEUE, passive=True)
            except NotFound:
                return 0, 0
            return messages, consumers
