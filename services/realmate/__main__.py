from __future__ import annotations

from realmate.cli import main

main()
