"""The TCP ports of this machine that are free."""

from __future__ import annotations

import errno
import random
import socket

from realmate.local.child import LocalError
from realmate.runtime.listening import cannot_listen

BELOW_EPHEMERAL = range(15_000, 32_000)
"""Linux and macOS give outgoing connections ports above these, so nobody takes ours between the look and the use."""


_claims: list[socket.socket] = []


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nothing listens on, and that no other process was given here: a server may take seconds to bind it.

    The UDP port of the same number, held until this process ends, is the claim. Raises LocalError when `host` is none
    of this machine's.
    """
    while True:
        port = random.choice(BELOW_EPHEMERAL)  # noqa: S311 (not a secret)
        claim = socket.socket(_family(host), socket.SOCK_DGRAM)
        try:
            claim.bind((host, port))
            _check(host, port)
        except (OSError, UnicodeError) as error:
            claim.close()
            if isinstance(error, UnicodeError) or error.errno != errno.EADDRINUSE:
                raise LocalError(cannot_listen(host, port, error)) from None
        else:
            _claims.append(claim)
            return port


def check_free(host: str, port: int) -> None:
    """Raises LocalError, with what to do about it, when `port` cannot be listened on."""
    try:
        _check(host, port)
    except (OSError, UnicodeError) as error:
        raise LocalError(cannot_listen(host, port, error)) from None


def _check(host: str, port: int) -> None:
    with socket.socket(_family(host)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: TIME_WAIT is no obstacle
        probe.bind((host, port))


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
