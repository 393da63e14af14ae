"""The load: a process of its own with many senders, each playing one script after the other, until SIGTERM.

Then every event still under way is insisted upon until it is answered; the process ends when the last one is.
Run as `load.py JSON`, the JSON being an `Order`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import msgspec

from history import Journal
from scripted import ScriptedChild
from scripts import SCRIPTS
from sender import Order, Sender, Stopped

FLUSH_EVERY_S = 0.1


class Load(ScriptedChild):
    """Its journal grows while it runs."""

    def __init__(self, order: Order, log: Path) -> None:
        super().__init__("the load generator", log)
        self._order = order

    def start(self) -> None:
        self._spawn_script(__file__, self._order)


async def run(order: Order) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    journal = Journal(Path(order.journal))
    flushing = asyncio.create_task(_flush(journal))
    async with asyncio.TaskGroup() as group:
        for number in range(order.senders):
            group.create_task(_play(Sender(order, number, journal, stop), stop))
    flushing.cancel()
    journal.close()


async def _play(sender: Sender, stop: asyncio.Event) -> None:
    scripts, weights = list(SCRIPTS), list(SCRIPTS.values())
    while not stop.is_set():
        try:
            [script] = sender.random.choices(scripts, weights)
            await script(sender)
            await sender.pause(sender.random.uniform(0, sender.window_s))
        except Stopped:
            return


async def _flush(journal: Journal) -> None:
    while True:
        await asyncio.sleep(FLUSH_EVERY_S)
        journal.flush()


if __name__ == "__main__":
    asyncio.run(run(msgspec.json.decode(sys.argv[1], type=Order)))
