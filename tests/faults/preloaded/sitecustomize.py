"""For services under libfaketime: `time.sleep` by other means, as that library breaks Python's own.

Python sleeps until a moment of CLOCK_MONOTONIC; libfaketime 0.9.10 takes that for the hour and makes it an EINVAL.
Eventlet's hub sleeps so before its first socket. It looks for the module under the name below.
"""

from __future__ import annotations

import sys
import time
import types
from select import select  # the native one, by name: the module's will be made green
from typing import SupportsIndex


def sleep(seconds: float | SupportsIndex) -> None:
    select([], [], [], float(seconds))


time.sleep = sleep
original = types.ModuleType("time")
original.__dict__.update(vars(time))
sys.modules["__original_module_time"] = original
