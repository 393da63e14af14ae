"""Runs services in this process, as a pod or `realmate up` does: `serve` is called by `realmate run` alone.

It knows how services start, drain and end, and nothing of what they do: it finds them by name. The process must be
patched before this module is imported (`realmate.runtime.cooperation`).
"""

from __future__ import annotations

import faulthandler
import gc
import os
import resource
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from importlib import import_module
from io import StringIO
from typing import Any

import eventlet
import structlog
from nameko.runners import ServiceRunner

from realmate.errors import UserError
from realmate.http_server.server import open_process
from realmate.runtime import cooperation, logs
from realmate.runtime.config import nameko_config
from realmate.runtime.health import health
from realmate.runtime.listening import cannot_listen
from realmate.runtime.loops import loops
from realmate.runtime.settings import Settings, load

SERVICES = {
    "webhook": "realmate.webhook.service:WebhookService",
    "conversations": "realmate.conversations.service:ConversationsService",
    "query": "realmate.query.service:QueryService",
    "deliveries": "realmate.deliveries.service:DeliveriesService",
    "console": "realmate.console.service:ConsoleService",
}

GC_YOUNG_OBJECTS = 20_000
"""The objects made and not freed since the last collection: more than the largest batch holds at a time."""

log = structlog.get_logger(__name__)


class StartError(UserError):
    """The services cannot start here; the message says why in one line, for a person."""


def serve(names: Sequence[str]) -> int:
    """Run the named services until a signal or the death of one; return the exit code.

    Raises StartError and SettingsError. SIGTERM and SIGINT drain: readiness goes at once, requests are still taken for
    DRAIN_DELAY_S, the work in flight is finished, exit code 0. Who only pulls work (conversations) pulls no more at
    once. After DRAIN_TIMEOUT_S and a second more the process ends whatever still runs.
    """
    cooperation.check_patched()
    settings = load()
    logs.configure(settings, service="+".join(names))
    _allow_many_connections()
    signals = _catch_signals(settings)
    runner = _runner(names, settings)
    with _one_line_for("ADMIN_PORT", settings.host, settings.admin_port):
        open_process(settings)
    with _one_line_for("PORT", settings.host, settings.port), _quiet_hub():
        runner.start()
    _collect_seldom()
    log.info("started", pid=os.getpid(), host=settings.host, port=settings.port)
    loops.spawn("watch health", health.watch)
    eventlet.spawn(_stop_when_told, signals, runner, settings)
    try:
        runner.wait()
    except Exception:
        log.exception("a service died")
        return 1
    log.info("stopped")
    return 0


def _runner(names: Sequence[str], settings: Settings) -> Any:
    runner = ServiceRunner(nameko_config(settings))
    for name in names:
        module, _, service = SERVICES[name].partition(":")
        runner.add_service(getattr(import_module(module), service))
    return runner


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """eventlet prints each exception that passes its hub, twice; `start` raises it to us, who tell it once.

    The logs are not concerned: their handler has a hold of the real stderr.
    """
    with redirect_stderr(StringIO()):
        yield


@contextmanager
def _one_line_for(variable: str, host: str, port: int | None) -> Iterator[None]:
    """A port that cannot be listened on is a StartError, with what to do about it."""
    try:
        yield
    except (OSError, UnicodeError) as error:
        raise StartError(cannot_listen(host, port, error, variable=variable)) from error


def _collect_seldom() -> None:
    """Keep the cycle collector off what is there for good (modules, settings, routes), and off half-done batches.

    Nearly all that a batch makes is freed by its reference count; the collector searched it in vain, several times a
    batch, and now and then the whole heap with it. (7 % of the conversations process: bench/LOG.md.)
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_YOUNG_OBJECTS)


def _allow_many_connections() -> None:
    """The usual soft limit, 1024 descriptors, is there for select(); epoll needs none (systemd's advice, too)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _catch_signals(settings: Settings) -> int:
    """A file descriptor with a byte to read for each SIGTERM and SIGINT.

    A handler alone would not do: Python goes back to waiting in epoll after it (PEP 475), so what it asked of the hub
    would happen only when something else wakes that up, a minute later perhaps. A readable descriptor does wake it.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

    def last_resort(*_: object) -> None:
        """A thread of C, which ends the process even if a call blocks it, and shows which one."""
        faulthandler.dump_traceback_later(settings.drain_delay_s + settings.drain_timeout_s + 2, exit=True)

    signal.signal(signal.SIGTERM, last_resort)
    signal.signal(signal.SIGINT, last_resort)
    return reader


def _stop_when_told(signals: int, runner: Any, settings: Settings) -> None:
    os.read(signals, 1)  # eventlet's: only this greenlet waits
    log.info("stopping", drain_delay_s=settings.drain_delay_s, drain_timeout_s=settings.drain_timeout_s)
    health.draining = True
    eventlet.spawn_after(settings.drain_delay_s + settings.drain_timeout_s + 1, _give_up)
    runner.stop()


def _give_up() -> None:
    log.error("work in flight did not end in time; exiting without it")
    os._exit(1)
