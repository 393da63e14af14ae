"""`python http_process.py echo trouble`: serves test services as `realmate run` serves real ones, signals and all.

A process of its own, as eventlet's monkey-patching must not leak into pytest. Settings come from the environment; the
port is in the log line `listening`.
"""

from __future__ import annotations

import sys

from realmate.runtime import green

if __name__ == "__main__":
    green.patch()

    from realmate.runtime import runner

    runner.SERVICES.update(
        echo="http_services:Echo",
        trouble="http_services:Trouble",
        quiet="http_services:Quiet",
    )
    try:
        sys.exit(runner.serve(sys.argv[1:]))
    except runner.StartError as error:
        sys.exit(str(error))
