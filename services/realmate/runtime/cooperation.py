"""Makes a process cooperative: under eventlet's monkey-patching, what would block lets other greenlets run.

Called by `realmate run` before it imports anything that opens sockets or takes locks, and never by a test's process.
"""

from __future__ import annotations

import warnings
from contextlib import suppress

with warnings.catch_warnings():
    # It says at each start that eventlet is in bug-fix mode. We know: that is why only `runtime` may use it.
    warnings.simplefilter("ignore")
    import eventlet
    from eventlet import patcher
    from eventlet.support import greendns


def patch() -> None:
    eventlet.monkey_patch()
    # It remembers that a name does not exist, for ever where the answer gives no time: a service that starts before its
    # broker's name is there would never find it. Names are asked for when a connection opens, which is seldom.
    with suppress(greendns.dns.resolver.NoResolverConfiguration):  # no DNS here: nothing but addresses is used
        greendns.resolver._resolver.cache = None  # noqa: SLF001 (there is no other way to it)


def check_patched() -> None:
    """Raises RuntimeError in a process where `patch` was forgotten: it would work, one request at a time."""
    if not patcher.is_monkey_patched("socket"):
        raise RuntimeError("realmate.runtime.cooperation.patch() must come first")
