"""The benchmark as a client of Realmate: what it counted, and a conversation worth reading."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import UTC, datetime

import requests
from prometheus_client.parser import text_string_to_metric_families

TIMEOUT_S = 10
GET_MESSAGES = 20


def verdicts(url: str) -> Counter[str]:
    """Events decided so far, by verdict."""
    text = requests.get(f"{url}/metrics", timeout=TIMEOUT_S).text
    return Counter(
        {
            sample.labels["verdict"]: int(sample.value)
            for family in text_string_to_metric_families(text)
            if family.name == "realmate_events"
            for sample in family.samples
        }
    )


def make_conversation(url: str) -> str:
    """The URL of a closed conversation: GET_MESSAGES messages, the last of them the reply. It never changes again."""
    conversation = str(uuid.uuid4())
    with requests.Session() as session:
        _post(session, url, "NEW_CONVERSATION", id=conversation)
        for _ in range(GET_MESSAGES - 1):
            message = str(uuid.uuid4())
            content = "Olá, quero alugar um apartamento de dois quartos."
            _post(session, url, "NEW_MESSAGE", id=message, content=content, conversation_id=conversation)
        _post(session, url, "CLOSE_CONVERSATION", id=conversation)
    return f"{url}/conversations/{conversation}/"


def _post(session: requests.Session, url: str, event_type: str, **data: str) -> None:
    event = {"type": event_type, "timestamp": datetime.now(UTC).isoformat(), "data": data}
    session.post(f"{url}/webhook/", json=event, timeout=TIMEOUT_S).raise_for_status()
