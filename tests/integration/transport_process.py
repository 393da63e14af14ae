"""A process of its own with one Nameko service on the transport: `transport_process.py caller`, or `consumer <how>`.

Nameko needs eventlet's monkey-patching, which must not reach pytest; and what the tests kill has to be a process. The
two speak in JSON lines: a caller reads calls from stdin and prints their ends, a consumer prints what it is handed.
"""

from __future__ import annotations

import eventlet

eventlet.monkey_patch()

import contextlib  # noqa: E402 (everything comes after the patching)
import json  # noqa: E402
import os  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from typing import Any  # noqa: E402

from eventlet.greenio import GreenPipe  # noqa: E402
from nameko.extensions import DependencyProvider, Entrypoint  # noqa: E402

from realmate.runtime import logs, settings  # noqa: E402
from realmate.runtime.config import nameko_config  # noqa: E402
from realmate.runtime.container import Container  # noqa: E402
from realmate.runtime.loops import loops  # noqa: E402
from realmate.transport import CommandCaller, Delivery, TransportUnavailable, commands  # noqa: E402


def tell(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


class LinesFromStdin(Entrypoint):
    """Spawns a worker for each line."""

    def start(self) -> None:
        self._reader = loops.spawn("read stdin", self._read)

    def stop(self) -> None:
        self._reader.kill()

    def _read(self) -> None:
        for line in GreenPipe(sys.stdin.fileno(), "r"):
            self.container.spawn_worker(self, (json.loads(line),), {})


class CallerService:
    name = "caller"
    transport = CommandCaller()

    @LinesFromStdin.decorator
    def call(self, order: dict[str, Any]) -> None:
        started = time.monotonic()
        reply = None
        with contextlib.suppress(TransportUnavailable):
            reply = self.transport.call(order["payload"].encode(), timeout_s=order["timeout_s"]).decode()
        tell(call=order["call"], reply=reply, took_s=time.monotonic() - started)


class EchoService:
    """Answers at once."""

    name = "consumer"

    @commands
    def apply(self, deliveries: Sequence[Delivery]) -> list[bytes]:
        tell(
            deliveries=[
                {"id": each.id, "payload": each.payload.decode(), "redelivered": each.redelivered}
                for each in deliveries
            ]
        )
        return self.answer(deliveries)

    def answer(self, deliveries: Sequence[Delivery]) -> list[bytes]:
        return [b"echo " + each.payload for each in deliveries]


class HangingService(EchoService):
    """Never answers."""

    def answer(self, deliveries: Sequence[Delivery]) -> list[bytes]:
        eventlet.sleep(3600)
        return super().answer(deliveries)


class SlowService(EchoService):
    """Answers after longer than a claim takes."""

    def answer(self, deliveries: Sequence[Delivery]) -> list[bytes]:
        eventlet.sleep(2)
        return super().answer(deliveries)


class FailingService(EchoService):
    """Always raises."""

    def answer(self, deliveries: Sequence[Delivery]) -> list[bytes]:
        raise RuntimeError(f"the store is away, {len(deliveries)} deliveries are not applied")


class FailingOnceService(EchoService):
    """Raises unless all it is handed is redelivered."""

    def answer(self, deliveries: Sequence[Delivery]) -> list[bytes]:
        if not all(each.redelivered for each in deliveries):
            raise RuntimeError("the store is away")
        return super().answer(deliveries)


class DyingService(EchoService):
    """Ends its process, as a batch does that no memory holds or that crashes an extension in C."""

    def answer(self, deliveries: Sequence[Delivery]) -> list[bytes]:
        if any(each.payload == b"poison" for each in deliveries):
            tell(started=True)  # a batch that waited for it may come before `main` can say so
            os._exit(9)
        return super().answer(deliveries)


def break_down() -> None:
    _ = 1 // 0


class BreakingLoopService(EchoService):
    """A loop of it fails in a way that nobody foresaw, as soon as the first batch has come."""

    def answer(self, deliveries: Sequence[Delivery]) -> list[bytes]:
        loops.spawn("break", break_down)
        return super().answer(deliveries)


class Breaking(DependencyProvider):
    """Raises where Nameko expects nobody to."""

    def worker_teardown(self, worker_ctx: Any) -> None:
        raise RuntimeError(f"nobody foresaw this: {worker_ctx}")


class BreakingWorkerService(EchoService):
    """What runs around its method fails in a way that nobody foresaw."""

    breaking = Breaking()


SERVICES = {
    "dying": DyingService,
    "breaking loop": BreakingLoopService,
    "breaking worker": BreakingWorkerService,
    "caller": CallerService,
    "echo": EchoService,
    "hanging": HangingService,
    "slow": SlowService,
    "failing": FailingService,
    "failing once": FailingOnceService,
}


def main() -> None:
    loaded = settings.load()
    logs.configure(loaded, service=sys.argv[1])
    container = Container(SERVICES[sys.argv[1]], nameko_config(loaded))
    signal.signal(signal.SIGTERM, lambda *_: eventlet.spawn_n(container.stop))
    container.start()
    tell(started=True)
    container.wait()


if __name__ == "__main__":
    main()
