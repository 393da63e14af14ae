"""Prints, as JSON, how this Python reads the moments that stdin has as a JSON list: for `test_moments.py`.

The one argument is the file of the parser, which needs nothing but the standard library.
"""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable
from datetime import datetime


def read(parse: Callable[[str], datetime], text: str) -> str:
    try:
        return parse(text).isoformat()
    except ValueError as error:
        return f"rejected: {error}"


if __name__ == "__main__":
    parser = runpy.run_path(sys.argv[1])["parse_moment"]
    json.dump([read(parser, text) for text in json.load(sys.stdin)], sys.stdout)
