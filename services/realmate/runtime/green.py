"""Makes a process cooperative: under eventlet's monkey-patching, what would block lets other greenlets run.

Called by `realmate run` before it imports anything that opens sockets or takes locks, and never by a test's process.
"""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # It says at each start that eventlet is in bug-fix mode. We know: that is why only `runtime` may use it.
    warnings.simplefilter("ignore")
    import eventlet
    from eventlet import patcher


def patch() -> None:
    eventlet.monkey_patch()


def check_patched() -> None:
    """Raises RuntimeError in a process where `patch` was forgotten: it would work, one request at a time."""
    if not patcher.is_monkey_patched("socket"):
        raise RuntimeError("realmate.runtime.green.patch() must come first")
