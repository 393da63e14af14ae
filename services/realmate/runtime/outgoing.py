"""Requests to addresses that a file names: bounded in time and size, and not into private networks unless allowed.

A name is resolved once, every address it has is checked, and the connection goes to one of those that were checked: a
name that answers differently the second time gains nothing. Redirects are not followed.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import eventlet
import urllib3

MAX_ANSWER_BYTES = 512 * 1024

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class CallFailed(Exception):
    """There is no answer; the message says why, and may be logged."""


class CallForbidden(CallFailed):
    """The address is not one to send to."""


class CallAnswer(NamedTuple):
    status: int
    body: bytes
    retry_after_s: float


def post(
    url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float, allow_private: bool = False
) -> CallAnswer:
    """POST, and read the whole answer, within `timeout_s` in all. Raises CallFailed."""
    timer = eventlet.Timeout(timeout_s)
    try:
        return _post(url, body, headers, timeout_s, allow_private=allow_private)
    except eventlet.Timeout as fired:
        if fired is not timer:
            raise
        raise CallFailed(f"no whole answer within {timeout_s:g} s") from None
    except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        raise CallFailed(f"{type(error).__name__}: {error}") from error
    finally:
        timer.cancel()


def _post(url: str, body: bytes, headers: Mapping[str, str], timeout_s: float, *, allow_private: bool) -> CallAnswer:
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    address = _address(host, port, allow_private=allow_private)
    timeout = urllib3.Timeout(total=timeout_s)
    pool: urllib3.HTTPConnectionPool
    if parts.scheme == "https":
        pool = urllib3.HTTPSConnectionPool(address, port, timeout=timeout, server_hostname=host, assert_hostname=host)
    else:
        pool = urllib3.HTTPConnectionPool(address, port, timeout=timeout)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with pool:
        answer = pool.urlopen(
            "POST",
            target,
            body=body,
            headers={**headers, "Host": parts.netloc.rpartition("@")[2], "Connection": "close"},
            retries=False,
            redirect=False,
            preload_content=False,
        )
        content = answer.read(MAX_ANSWER_BYTES + 1)
        answer.close()
    if len(content) > MAX_ANSWER_BYTES:
        raise CallFailed(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
    retry_after = answer.headers.get("Retry-After", "")
    return CallAnswer(answer.status, content, float(retry_after) if retry_after.isdecimal() else 0.0)


def _address(host: str, port: int, *, allow_private: bool) -> str:
    """One of the host's addresses, all of which may be sent to. Raises CallForbidden."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [str(address[4][0]) for address in found]
    if not allow_private:
        for address in addresses:
            if not is_public(address):
                raise CallForbidden(f"{host} is {address}, which is no public address (allow_private would allow it)")
    return addresses[0]


def is_public(address: str) -> bool:
    """Whether it is an address of the public Internet, whatever it is wrapped in."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip.sixtofour is not None or ip.teredo is not None or ip in _NAT64:
            return False  # they lead to an IPv4 address that is not ours to judge
    return ip.is_global and not ip.is_multicast
