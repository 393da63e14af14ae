"""The text that `realmate up` shows when everything runs: where it is, and what to paste into another terminal."""

from __future__ import annotations

import json
import shlex
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from realmate.console.pages import BUILT
from realmate.local.child import Child


def greeting(url: str, children: Sequence[Child], data_dir: Path, *, took_s: float) -> str:
    width = max(len(child.name) for child in children)
    parts = [f"  {child.name:{width}}  pid {child.pid:<7} log {child.log}" for child in children]
    return "\n".join(
        [
            f"\nRealmate is up after {took_s:.1f} s: {url}\n",
            *([f"  {'console':{width}}  {url}/console/\n"] if (BUILT / "index.html").exists() else []),
            *parts,
            f"  {'data':{width}}  {data_dir}\n",
            "Try these in another terminal (the reply comes 5 s after the message), or `realmate send`:\n",
            *(f"  {line}" for line in curl_lines(url)),
            "\nCtrl-C stops everything.",
        ]
    )


def curl_lines(url: str) -> list[str]:
    """Open a conversation, say something, read it. Other ids each time: pasting works however often one starts."""
    conversation = str(uuid.uuid4())
    message = {"id": str(uuid.uuid4()), "content": "Olá, quero alugar um apartamento.", "conversation_id": conversation}
    return [
        _post(url, "NEW_CONVERSATION", {"id": conversation}),
        _post(url, "NEW_MESSAGE", message),
        f"curl {url}/conversations/{conversation}/",
    ]


def _post(url: str, kind: str, data: dict[str, str]) -> str:
    event = {"type": kind, "timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "data": data}
    return f"curl {url}/webhook/ -d {shlex.quote(json.dumps(event, ensure_ascii=False))}"
