"""Why an address cannot be listened on, for a person."""

from __future__ import annotations

import errno
import socket


def cannot_listen(host: str, port: int | None, error: OSError | UnicodeError, *, variable: str = "PORT") -> str:
    """Return one line that names the setting to change; `variable` is the port's setting."""
    if isinstance(error, socket.gaierror | UnicodeError) or error.errno == errno.EADDRNOTAVAIL:
        return (
            f"cannot listen on {host}: HOST must be an address of this machine, such as 127.0.0.1 or 0.0.0.0"
            " (conda sets a HOST of its own: unset it)"
        )
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken; choose another with {variable}=…"
    if error.errno == errno.EACCES:
        return f"port {port} is for root alone; choose one from 1024 on with {variable}=…"
    return f"cannot listen on {host}:{port}: {error.strerror or error}"
