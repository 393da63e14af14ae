"""Poison in Redis: entries of the stream of commands, and messages on the channels of responses."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
import redis

from poison import GARBAGE, REPLAYED_AFTER_S, altered, forged_payloads, forged_reply_to

STREAM = b"realmate:commands"
RESPONSES = b"realmate:replies:*"
OVERHEARD = 15
LISTEN_S = 4.0

Fields = dict[str, bytes]


class RedisPoison:
    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, protocol=2, socket_timeout=10)
        self.sent = 0

    def pour(self) -> None:
        """All there is, while the load runs. It takes about eight seconds."""
        began_at = time.monotonic()
        overheard = self._answer_in_the_writers_place()
        self._garble_replies()
        sample: Fields = overheard[0] if overheard else {}
        constructed = {"id": b"poison", "reply": b"x", "attempt": b"1", "timeout_ms": b"5000", "payload": b"x"}
        for fields in altered(constructed | sample | {"id": b"poison"}, GARBAGE):
            self._add(fields)
        for number, payload in enumerate(forged_payloads()):
            self._add(constructed | {"id": b"forged-%d" % number, "payload": payload})
        self._add({"from": b"another world"})
        time.sleep(max(0.0, REPLAYED_AFTER_S - (time.monotonic() - began_at)))
        for genuine in overheard:
            self._add(genuine)
        for fields in altered(sample, GARBAGE):
            self._add(fields)
        self._client.close()

    def _answer_in_the_writers_place(self) -> list[Fields]:
        """Listen to the stream, and tell each caller at once that all was done."""
        overheard: list[Fields] = []
        last_id, give_up_at = b"$", time.monotonic() + LISTEN_S
        while len(overheard) < OVERHEARD and time.monotonic() < give_up_at:
            streams: Any = self._client.xread({STREAM: last_id}, block=500)
            for entry_id, raw in streams[0][1] if streams else []:
                last_id = entry_id
                fields = {name.decode(): value for name, value in raw.items()}
                overheard.append(fields)
                self._forge_reply(fields)
        return overheard

    def _forge_reply(self, fields: Mapping[str, bytes]) -> None:
        reply = forged_reply_to(fields["payload"])
        if reply is not None:
            self._publish(fields["reply"], msgspec.msgpack.encode((fields["id"].decode(), reply)))

    def _garble_replies(self) -> None:
        wrong: tuple[object, ...] = (None, 1, [], ["x"], ["x", b"y"], [1, 2], {"a": 1}, ["x", b"y", b"z"])
        for channel in self._client.pubsub_channels(RESPONSES):
            for message in (*GARBAGE, *(msgspec.msgpack.encode(each) for each in wrong)):
                self._publish(channel, message)

    def _add(self, fields: Mapping[str, bytes]) -> None:
        if fields:
            self._client.xadd(STREAM, dict[Any, Any](fields))
            self.sent += 1

    def _publish(self, channel: Any, message: bytes | str) -> None:
        self._client.publish(channel, message)
        self.sent += 1
