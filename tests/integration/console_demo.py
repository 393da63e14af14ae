"""An installation as people have one: several sources, talk, what was rejected and what was done about it.

The tests of the page look at it, and `make screenshots` draws it. All of it is sent by the front door.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests

from local_up import Up, up
from reading import tokens_of
from receivers import Receiver
from signatures import SECRET, signature

SOURCES = f"""
[sources.loja]
[sources.loja.limit]
events_per_s = 500
burst = 1000
[sources.suporte.reply]
kind = "none"
[sources.imoveis]
[sources.imoveis.signing]
scheme = "standard-webhooks"
secrets = [{{ value = "{SECRET}" }}]
"""
ENDPOINT = f"""
[endpoints.{{name}}]
url = "{{url}}"
secrets = [{{{{ value = "{SECRET}" }}}}]
allow_private = true
"""
SCOPES: dict[str, tuple[Sequence[str], Sequence[str]]] = {
    "maria": (["admin", "read"], []),
    "plantao": (["read", "operate"], []),
    "loja": (["read"], ["loja"]),
}
"""The tokens, each with its scopes and its sources."""

TALKS = (
    ("loja", "Oi! Esse tênis tem no 38?", "É para presente, precisa chegar até sexta."),
    ("loja", "Bom dia, meu pedido 4411 ainda não chegou.", "Podem olhar, por favor?"),
    ("suporte", "My invoice shows the wrong address.", "It should be Rua Augusta, 1200.", "Thank you!"),
    ("suporte", "Não consigo entrar no aplicativo desde ontem à noite."),
    ("suporte", "مرحبا، هل يمكنكم مساعدتي؟"),
    ("loja", "Vocês aceitam PIX?", "E parcelam no cartão?"),
)
IMOVEIS = ("Olá, tudo bem?", "Quero alugar um apartamento com varanda.", "Pode ser no centro, até R$ 3.000.")


def written(kind: str, **data: str) -> str:
    """Return an event of this moment, as its sender writes it."""
    return json.dumps({"type": kind, "timestamp": datetime.now(UTC).isoformat(), "data": data}, ensure_ascii=False)


@dataclass(frozen=True)
class Demo:
    up: Up
    tokens: dict[str, str]

    @property
    def url(self) -> str:
        return self.up.url

    def endpoints(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.call("GET", "/admin/endpoints/").json()["items"]}

    def post(self, source: str, kind: str, **data: str) -> requests.Response:
        return self.send(source, written(kind, **data))

    def send(self, source: str, body: str) -> requests.Response:
        encoded = body.encode()
        headers = signature(encoded) if source == "imoveis" else {}
        return requests.post(f"{self.url}/webhook/{source}/", data=encoded, headers=headers, timeout=30)

    def opened(self, source: str = "loja") -> str:
        key = str(uuid.uuid4())
        assert self.post(source, "NEW_CONVERSATION", id=key).status_code == 201
        return key

    def say(self, key: str, content: str, source: str = "loja") -> str:
        message = str(uuid.uuid4())
        assert self.post(source, "NEW_MESSAGE", id=message, conversation_id=key, content=content).status_code == 202
        return message

    def call(self, method: str, path: str, holder: str = "maria", **others: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.tokens[holder]}"}
        return requests.request(method, self.url + path, headers=headers, timeout=30, **others)


@contextmanager
def start_demo(directory: Path, **endpoints: Receiver) -> Iterator[Demo]:
    """Start everything with these sources, tokens and endpoints, and nothing else in it."""
    held, entries = tokens_of(SCOPES)
    sections = [ENDPOINT.format(name=name, url=receiver.url) for name, receiver in endpoints.items()]
    (directory / "sources.toml").write_text(SOURCES + "".join(sections))
    (directory / "tokens.toml").write_text("\n\n".join(entries))
    files: dict[str, Any] = {name.upper() + "_FILE": directory / f"{name}.toml" for name in ("sources", "tokens")}
    with up(directory / "data", **files) as installation:
        demo = Demo(installation, held)
        installation.wait_until(lambda: demo.call("GET", "/conversations/").ok)  # the feed begins within a second
        installation.wait_until(lambda: all(each["state"] != "new" for each in demo.endpoints().values()))
        yield demo


def fill(demo: Demo) -> None:
    """Let people talk, let senders err, and look after it. Takes about twelve seconds."""
    for source, *contents in TALKS:
        key = demo.opened(source)
        for content in contents:
            demo.say(key, content, source)
    closed = demo.opened("loja")
    demo.say(closed, "Obrigado, resolvido!")
    for body in ("{", written("NEW_MESSAGE", id="x", content="Olá"), json.dumps({"type": "PING"})):
        assert demo.send("loja", body).status_code == 400
    early = str(uuid.uuid4())
    demo.say(early, "Esta chegou antes da conversa, que nunca veio.")
    requests.post(f"{demo.url}/webhook/imoveis/", data=b"{}", timeout=30)
    demo.up.wait_until(lambda: demo.call("GET", f"/admin/rejections/?conversation={early}").json()["items"])
    assert demo.post("loja", "CLOSE_CONVERSATION", id=closed).status_code == 200
    assert (
        demo.post("loja", "NEW_MESSAGE", id=str(uuid.uuid4()), conversation_id=closed, content="?").status_code == 400
    )
    [first, *_] = demo.call("GET", "/admin/rejections/", "plantao").json()["items"]
    demo.call("GET", f"/admin/rejections/{first['id']}/", "plantao")
    demo.call("POST", "/admin/replays/", "plantao", json={"dry_run": True, "codes": ["conversation_not_found"]})
    time.sleep(1)  # the sources' curves are counted from the feed


def chat(demo: Demo) -> str:
    """Open a conversation of `imoveis` and let its first burst wait for its reply; the conversation's id."""
    key = demo.opened("imoveis")
    for content in IMOVEIS:
        demo.say(key, content, "imoveis")
    return key
