"""Compares a whole history with the contract, against what is stored in the end."""

from __future__ import annotations

import laws_of_groups
import laws_of_reading
import laws_of_storage
import laws_of_verdicts
from cases import Terms, Violation, cases
from history import History
from stored import Stored

LAWS = (*laws_of_storage.LAWS, *laws_of_groups.LAWS, *laws_of_verdicts.LAWS, *laws_of_reading.LAWS)


def check(history: History, stored: Stored, terms: Terms) -> list[Violation]:
    """Everything that is against the contract, by the time of the conversation it happened in."""
    found = [violation for case in cases(history, stored, terms) for law in LAWS for violation in law(case)]
    return sorted(found, key=lambda violation: violation.at)
