"""The words that the glossary replaces are in no name, docstring or documentation any more."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    r"(?<![Cc]onnection )(?<!Connection)\brefus\w*": "reject",
    r"\bturn(?:s|ed|ing)? (?:it |them )?away\b": "reject",
    r"\bleft alone\b": "circuit breaker",
    r"\b(?:amqp|redis)_(?:link|source|caller|words|aside|pending)\b": "transport/amqp, transport/redis",
    r"\bobservation\b": "metrics",
    r"\btakings?\b": "deliveries",
}
"""Patterns, each with the word to use instead."""

OLD_INTERFACE = re.compile(
    r"realmate_(?:webhook_)?(?:refused|unkept)_\w+|realmate_transport_refused|realmate_responder_left_alone"
    r"|Realmate\w*(?:Refuses|Refused|LeftAlone)|SomeRefused|answered, failed, refused|else \"refused\""
    r"|REJECTED = \"refused\"|\"refused\" in|ConnectionRefusedError|ECONNREFUSED|refused until every"
)
"""Names that others use, and that stay for now: metrics, alerts, reasons, labels, what crosses the wire."""

HISTORY = (
    *("docs/adr/", "docs/glossary.md", "bench/LOG.md", "bench/results/", "CHANGELOG.md"),
    "services/realmate/migrations/versions/",
)
"""What was written once, and stays as it was."""


def texts() -> list[str]:
    command = ["git", "ls-files", "services", "docs", "charts", "README.md", "k8s"]
    names = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    return [name for name in names if Path(name).suffix in {".py", ".md", ".yaml"} and not name.startswith(HISTORY)]


@pytest.mark.parametrize("pattern", FORBIDDEN)
def test_a_word_that_the_glossary_replaces_is_used_nowhere(pattern: str) -> None:
    found = [
        f"{name}:{number}: {line.strip()}"
        for name in texts()
        for number, line in enumerate((ROOT / name).read_text().splitlines(), start=1)
        if re.search(pattern, OLD_INTERFACE.sub("", line), re.IGNORECASE)
    ]
    assert not found, f"say {FORBIDDEN[pattern]!r} instead:\n" + "\n".join(found)


HALF_SENTENCES = re.compile(r"(?:Of|Those|Whose|Who|By|So|As|Beyond|Nor|From whom|Where|Which) ")


def test_no_docstring_begins_like_half_a_sentence() -> None:
    found = [
        f"{name}: {docstring.strip().splitlines()[0]}"
        for name in texts()
        if name.endswith(".py")
        for docstring in re.findall(r'^ *"""(.*?)"""', (ROOT / name).read_text(), re.MULTILINE | re.DOTALL)
        if HALF_SENTENCES.match(docstring.strip())
    ]
    assert not found, "\n".join(found)
