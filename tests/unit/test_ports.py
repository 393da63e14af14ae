"""Ports for the servers of one machine: free, and nobody else's."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from realmate.local import ports
from realmate.local.child import LocalError

UNREACHABLE = "192.0.2.1"  # RFC 5737: an address for documentation, no machine's own


def test_a_port_that_another_process_was_given_is_not_given_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = "from realmate.local.ports import free_port; print(free_port(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", ask], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        theirs = int(other.stdout.readline())
        first_theirs = iter([theirs, *ports.BELOW_EPHEMERAL])
        monkeypatch.setattr("realmate.local.ports.random.choice", lambda _: next(first_theirs))
        assert ports.free_port() != theirs
        other.communicate("\n")


def test_a_port_that_is_listened_on_is_not_free() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(LocalError, match="choose another with PORT="),
    ):
        ports.check_free("127.0.0.1", server.getsockname()[1])


def test_an_address_that_is_not_ours_is_an_error_and_no_endless_search() -> None:
    with pytest.raises(LocalError, match=f"cannot listen on {UNREACHABLE}: "):
        ports.free_port(UNREACHABLE)
