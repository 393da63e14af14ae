"""Which TCP ports of this machine are free."""

from __future__ import annotations

import errno
import random
import socket

from realmate.local.child import LocalError

BELOW_EPHEMERAL = range(15_000, 32_000)
"""Linux and macOS give outgoing connections ports above these, so nobody takes ours between the look and the use."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listens on; picked at random, so that several processes rarely pick the same."""
    while True:
        port = random.choice(BELOW_EPHEMERAL)  # noqa: S311 (not a secret)
        if _why_taken(host, port) is None:
            return port


def check_free(host: str, port: int) -> None:
    """Raises LocalError, with what to do about it, when `port` cannot be listened on."""
    reason = _why_taken(host, port)
    if reason is not None:
        raise LocalError(reason)


def _why_taken(host: str, port: int) -> str | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return f"port {port} is taken; choose another with PORT=…"
            return f"cannot listen on {host}:{port}: {error.strerror}"
    return None
