"""Poison in RabbitMQ: messages in the queue of commands and in the queues of responses."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import amqp

from poison import GARBAGE, REPLAYED_AFTER_S, altered, forged_payloads, forged_reply_to
from realmate.transport.amqp.envelopes import decode_request, encode_request, encode_response

EXCHANGE = "nameko-rpc"
COMMANDS = "conversations.apply"
OVERHEARD = 15
LISTEN_S = 4.0
STRANGE: tuple[Any, ...] = ("", "x", "9" * 200, -1, 2**63 - 1, True, None, 0.5, [1], {"a": [{}]}, "\udcff", "²٣")
"""What a header, and some of them what a property can be."""
STRANGE_TEXTS = ("", "x", "9" * 200, "²٣", "\udcff", "nobody")
CONTENT_TYPES = ("", "application/json", "application/x-python-serialize", "x" * 200)

Properties = dict[str, Any]


class RabbitPoison:
    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._connection = amqp.Connection(
            f"{address.hostname}:{address.port}", userid=address.username or "", password=address.password or ""
        )
        self._connection.connect()
        self._channel = self._connection.channel()
        self.sent = 0

    def pour(self) -> None:
        """All there is, while the load runs. It takes about eight seconds."""
        began_at = time.monotonic()
        overheard = self._answer_in_the_writers_place()
        body, genuine = overheard[0] if overheard else (encode_request(b"x"), {"content_type": "application/x-msgpack"})
        unknown = genuine | {"correlation_id": "poison"}
        for garbage in GARBAGE:
            self._send(COMMANDS, garbage, unknown)
            self._send(COMMANDS, encode_request(garbage), unknown)
        for properties in self._strange(unknown):
            self._send(COMMANDS, body, properties)
        for number, payload in enumerate(forged_payloads()):
            properties = {**genuine, "application_headers": {}, "correlation_id": f"forged-{number}"}
            self._send(COMMANDS, encode_request(payload), properties)
        time.sleep(max(0.0, REPLAYED_AFTER_S - (time.monotonic() - began_at)))
        for heard_body, heard in overheard:
            self._send(COMMANDS, heard_body, heard)
        for properties in self._strange(genuine):
            self._send(COMMANDS, body, properties)
        self._connection.close()

    def _answer_in_the_writers_place(self) -> list[tuple[bytes, Properties]]:
        """Listen to the exchange, and answer each caller at once: first with rubbish, then that all was done."""
        queue = self._channel.queue_declare("", exclusive=True).queue
        self._channel.queue_bind(queue, EXCHANGE, COMMANDS)
        overheard: list[tuple[bytes, Properties]] = []

        def hear(message: Any) -> None:
            body = message.body if isinstance(message.body, bytes) else message.body.encode()
            overheard.append((body, dict(message.properties)))

        tag = self._channel.basic_consume(queue, no_ack=True, callback=hear)
        answered, give_up_at = 0, time.monotonic() + LISTEN_S
        while answered < OVERHEARD and time.monotonic() < give_up_at:
            with suppress(socket.timeout):
                self._connection.drain_events(timeout=0.5)
            for body, properties in overheard[answered:]:  # not in `hear`: to publish is to hear more
                self._forge_reply(body, properties)
                answered += 1
        self._channel.basic_cancel(tag)
        self._channel.queue_delete(queue)
        return overheard

    def _forge_reply(self, body: bytes, asked: Mapping[str, Any]) -> None:
        answering = {"content_type": "application/x-msgpack", "correlation_id": asked["correlation_id"]}
        for garbage in GARBAGE:
            self._send(asked["reply_to"], garbage, {**answering, "correlation_id": "poison"})
        for properties in self._strange(answering | {"correlation_id": "poison"}):
            self._send(asked["reply_to"], encode_response(b"x"), properties)
        reply = forged_reply_to(decode_request(body))
        if reply is not None:
            self._send(asked["reply_to"], encode_response(reply), answering)

    def _strange(self, genuine: Properties) -> list[Properties]:
        """Copies of the properties, each with one of them missing or strange."""
        texts = {name: value for name, value in genuine.items() if name in {"correlation_id", "reply_to"}}
        headers = genuine.get("application_headers") or {"realmate.attempt": 1}
        return [
            *({**genuine, "content_type": content_type} for content_type in CONTENT_TYPES),
            *({**genuine, "application_headers": strange} for strange in altered(headers, STRANGE)),
            *({**_without(genuine, texts), **strange} for strange in altered(texts, STRANGE_TEXTS)),
            _without(genuine, {"expiration": ""}),
            {},
        ]

    def _send(self, routing_key: str, body: bytes, properties: Properties) -> None:
        self._channel.basic_publish(amqp.Message(body, **properties), exchange=EXCHANGE, routing_key=routing_key)
        self.sent += 1


def _without(properties: Properties, names: Mapping[str, Any]) -> Properties:
    return {name: value for name, value in properties.items() if name not in names}
