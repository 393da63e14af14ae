"""`python http_process.py echo trouble`: serves test services as `realmate run` serves real ones, signals and all.

A process of its own, as eventlet's monkey-patching must not leak into pytest. Settings come from the environment; the
port is in the log line `listening`.
"""

from __future__ import annotations

import sys

from realmate.runtime import cooperation

if __name__ == "__main__":
    cooperation.patch()

    from realmate import serve

    serve.SERVICES.update(
        echo="http_services:Echo",
        trouble="http_services:Trouble",
        quiet="http_services:Quiet",
    )
    try:
        sys.exit(serve.serve(sys.argv[1:]))
    except serve.StartError as error:
        sys.exit(str(error))
