"""WebhookSource and EventReplay on a real cluster, under load: nothing is lost, and status tells the truth."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
import requests

from ledger import load
from realmate.sources.signing import StandardWebhooks
from release import Object, Rejected, Release, eventually
from signatures import SECRET

GENERATED = {"scheme": "standard-webhooks", "generate": True, "rotation": {"overlap": "30s"}}


def source(name: str, **spec: Any) -> Object:
    return {"apiVersion": "realmate.dev/v1alpha1", "kind": "WebhookSource", "metadata": {"name": name}, "spec": spec}


class Operated:
    """An installation with its sources."""

    def __init__(self, release: Release) -> None:
        self.release = release

    def make(self, name: str, **spec: Any) -> None:
        self.release.apply(source(name, **spec))
        self.wait(name, "Ready")

    def wait(self, name: str, reason: str) -> None:
        eventually(lambda: self.ready(name) == reason, f"source {name} is {reason}")

    def ready(self, name: str) -> str:
        """Why it is Ready, or not, as of what is written in it now."""
        found = self.release.get("webhooksource", name)
        status = found.get("status", {})
        if status.get("observedGeneration") != found["metadata"]["generation"]:
            return "not looked at"
        return next(str(each["reason"]) for each in status["conditions"] if each["type"] == "Ready")

    def post(self, name: str, secret: str | None = None) -> int:
        body = opening()
        return self.release.post(body, source=name, headers=signature(body, secret) if secret else {})

    def secret(self, name: str) -> str:
        return self.release.secret(f"webhooksource-{name}", "secret")


class Sender:
    """Takes its secret from where the operator puts it, once in a while, as an application does."""

    def __init__(self, operated: Operated, name: str) -> None:
        self._operated, self._name = operated, name
        self._read_at, self._secret = 0.0, ""

    def sign(self, body: bytes) -> Mapping[str, str]:
        if time.monotonic() - self._read_at > 5:
            self._secret, self._read_at = self._operated.secret(self._name), time.monotonic()
        return signature(body, self._secret)


def signature(body: bytes, secret: str) -> Mapping[str, str]:
    return StandardWebhooks([secret]).sign(body, str(uuid4()), time.time())


def opening(conversation: str | None = None) -> bytes:
    return event("NEW_CONVERSATION", id=conversation or str(uuid4()))


def event(kind: str, **data: str) -> bytes:
    return json.dumps({"type": kind, "timestamp": "2026-01-01T12:00:00Z", "data": data}).encode()


@pytest.fixture(scope="module")
def operated(url: str) -> Iterator[Operated]:
    release = Release(url)
    try:
        release.install()
        yield Operated(release)
    finally:
        release.delete()


def test_a_source_is_ready_when_its_key_is_taken(operated: Operated) -> None:
    operated.make("first", signing=GENERATED)
    secret = operated.secret("first")
    assert operated.post("first", secret) == 201
    assert operated.post("first") == 401
    status = operated.release.get("webhooksource", "first")["status"]
    assert [each["status"] for each in status["conditions"]] == ["True"] * 4
    assert secret not in json.dumps(status)
    eventually(lambda: traffic(operated, "first").get("accepted") == 1, "its event is counted")
    assert "lastEventAt" in traffic(operated, "first")


def traffic(operated: Operated, name: str) -> Object:
    found: Object = operated.release.get("webhooksource", name)["status"]["traffic"]
    return found


def test_a_rotation_under_load_rejects_no_event(operated: Operated) -> None:
    operated.make("rotated", signing=GENERATED)
    before = operated.secret("rotated")
    with load(operated.release, source="rotated", sign=Sender(operated, "rotated").sign) as ledger:
        operated.release.kubectl("annotate", "webhooksource/rotated", "realmate.dev/rotate=now")
        eventually(lambda: operated.secret("rotated") != before, "senders have the new key")
        eventually(lambda: operated.post("rotated", before) == 401, "the old key is rejected")
    ledger.verify()
    assert not ledger.rejected


def test_a_source_that_breaks_loses_nothing_and_says_so(operated: Operated) -> None:
    operated.make("broken", signing=GENERATED)
    secret = operated.secret("broken")
    with load(operated.release, source="broken", sign=lambda body: signature(body, secret)) as ledger:
        references = {"scheme": "standard-webhooks", "generate": None, "rotation": None, "secretRefs": [{"name": "no"}]}
        operated.release.patch("webhooksource", "broken", {"spec": {"signing": references}})
        operated.wait("broken", "SecretMissing")
        time.sleep(5)
        made = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "no"}, "stringData": {"secret": secret}}
        operated.release.apply(made)
        operated.wait("broken", "Ready")
    ledger.verify()
    assert not ledger.rejected


def test_a_paused_source_is_sent_again_later(operated: Operated) -> None:
    operated.make("paused")
    with load(operated.release, source="paused") as ledger:
        operated.release.patch("webhooksource", "paused", {"spec": {"paused": True}})
        operated.wait("paused", "Paused")
        assert operated.post("paused") == 503
        operated.release.patch("webhooksource", "paused", {"spec": {"paused": False}})
        operated.wait("paused", "Ready")
    ledger.verify()
    assert set(ledger.rejected) == {503}


def test_a_deleted_source_is_revoked_and_then_erased_beside_one_under_load(operated: Operated) -> None:
    operated.make("doomed", deletionPolicy="Erase")
    operated.make("beside")
    conversation = str(uuid4())
    assert operated.release.post(opening(conversation), source="doomed") == 201
    url = f"{operated.release.url}/conversations/{conversation}/?source=doomed"
    with load(operated.release, source="beside") as ledger:
        operated.release.kubectl("delete", "webhooksource", "doomed", "--wait=false")
        eventually(lambda: operated.post("doomed") == 404, "it is revoked")
        eventually(lambda: not gets(operated, "doomed"), "it is gone")
    assert requests.get(url, timeout=10).status_code == 404
    ledger.verify()
    assert not ledger.rejected


RESPONDER = """
import http.server
class Responder(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"content": "Um momento."}')
http.server.HTTPServer(("", 8080), Responder).serve_forever()
"""


def test_a_reply_from_elsewhere_comes_through_the_policies(operated: Operated) -> None:
    """A policy sees the port of the pod, not that of the Service before it."""
    release = operated.release
    release.install(networkPolicy={"responders": True, "responderPorts": [8080]})
    start_responder(release)
    url, keys = f"http://responder.{release.namespace}.svc/", [{"name": "responder", "key": "secret"}]
    reply = {"kind": "http", "url": url, "allowPrivate": True, "secretRefs": keys}
    operated.make("answered", signing=GENERATED, reply=reply)
    secret, conversation = operated.secret("answered"), str(uuid4())
    for body in (
        opening(conversation),
        event("NEW_MESSAGE", id=str(uuid4()), content="Oi", conversation_id=conversation),
    ):
        assert release.post(body, source="answered", headers=signature(body, secret)) in {201, 202}
    eventually(lambda: "Um momento." in said_in(release, conversation), "the responder's reply is there")


def said_in(release: Release, conversation: str) -> list[str]:
    answer = requests.get(f"{release.url}/conversations/{conversation}/", timeout=10)
    return [message["content"] for message in answer.json().get("messages", [])]


def start_responder(release: Release) -> None:
    """In a pod like ours, of which no policy of ours knows."""
    ours, labels = release.get("deployment", "realmate-query")["spec"]["template"]["spec"], {"app": "responder"}
    kept = {key: ours["containers"][0][key] for key in ("image", "imagePullPolicy", "securityContext", "resources")}
    container = kept | {"name": "responder", "command": ["python", "-c", RESPONDER]}
    container["readinessProbe"] = {"tcpSocket": {"port": 8080}}
    pod = {"securityContext": ours["securityContext"], "containers": [container]}
    release.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "responder"}, "stringData": {"secret": SECRET}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "responder"},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
        },
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "responder", "labels": labels}, "spec": pod},
    )
    release.kubectl("wait", "pod/responder", "--for=condition=Ready", "--timeout=60s")


def gets(operated: Operated, name: str) -> bool:
    return name in {each["metadata"]["name"] for each in operated.release.list("webhooksources")}


def test_a_retained_source_goes_at_once_and_what_it_sent_stays(operated: Operated) -> None:
    operated.make("retained")
    conversation = str(uuid4())
    assert operated.release.post(opening(conversation), source="retained") == 201
    operated.release.kubectl("delete", "webhooksource", "retained", "--timeout=10s")
    eventually(lambda: operated.post("retained") == 404, "it is revoked")
    answer = requests.get(f"{operated.release.url}/conversations/{conversation}/?source=retained", timeout=10)
    assert answer.status_code == 200


def test_a_hand_s_edit_heals_and_so_does_a_lost_operator(operated: Operated) -> None:
    operated.make("healed", maxBodyBytes=1000)
    published = operated.release.secret("realmate-webhooksources", "sources.json")
    edited = published.replace("1000", "1001")
    operated.release.kubectl("delete", "pod", "--selector=app.kubernetes.io/component=operator", "--grace-period=0")
    operated.release.patch("secret", "realmate-webhooksources", {"stringData": {"sources.json": edited}})
    secret = "realmate-webhooksources"
    eventually(lambda: entries(operated) == json.loads(published)["sources"], "the edit is undone")
    operated.release.patch("secret", secret, {"data": None})
    eventually(lambda: operated.release.get("secret", secret).get("data"), "it is published again")
    assert operated.release.secret(secret, "sources.json") != ""
    operated.wait("healed", "Ready")


def entries(operated: Operated) -> Object:
    """What is published. (Its revision grows with each time that it is published.)"""
    published: Object = json.loads(operated.release.secret("realmate-webhooksources", "sources.json"))["sources"]
    return published


def test_a_replay_sends_what_had_expired(operated: Operated) -> None:
    conversation, message = str(uuid4()), str(uuid4())
    early = event("NEW_MESSAGE", id=message, conversation_id=conversation, content="Cedo demais")
    operated.make("replayed")
    assert operated.release.post(early, source="replayed") == 202
    time.sleep(8)
    assert operated.release.post(opening(conversation), source="replayed") == 201
    spec = {"source": "replayed", "codes": ["expired"], "conversation": conversation}
    for name, dry in (("dry", True), ("wet", False)):
        replay = {"apiVersion": "realmate.dev/v1alpha1", "kind": "EventReplay", "metadata": {"name": name}}
        operated.release.apply(replay | {"spec": spec | {"dryRun": dry}})
        operated.release.kubectl("wait", f"eventreplay/{name}", "--for=condition=Complete", "--timeout=120s")
        status = operated.release.get("eventreplay", name)["status"]
        assert (status["phase"], status["total"], status["sent"]) == ("Succeeded", 1, 0 if dry else 1)
    assert status["answers"] == {"202 accepted": 1}
    read = requests.get(f"{operated.release.url}/conversations/{conversation}/", timeout=10).json()
    assert "Cedo demais" in [each["content"] for each in read["messages"]]


@pytest.mark.parametrize(
    ("name", "spec", "complaint"),
    [
        ("a.b", {}, "a part of its URL"),
        ("a", {"speed": 3}, "unknown field"),
        ("a", {"signing": {"scheme": "standard-webhooks"}}, "either secretRefs or generate"),
        ("a", {"signing": {"scheme": "rot13", "generate": True}}, "Unsupported value"),
        (
            "a",
            {"signing": {"scheme": "standard-webhooks", "secretRefs": [{"name": "x"}], "rotation": {}}},
            "only generated keys are rotated",
        ),
        ("a", {"signing": GENERATED | {"rotation": {"every": "1h"}}}, "every must not be shorter than overlap"),
        ("a", {"signing": GENERATED | {"rotation": {"every": "30d"}}}, "should match"),
        ("a", {"reply": {"kind": "http"}}, "url and secretRefs are of kind http"),
        ("a", {"reply": {"kind": "http", "url": "http://x/", "secretRefs": [{"name": "x"}]}}, "url must be https"),
        ("a", {"limit": {"eventsPerSecond": 0}}, "must be at least 0.001"),
    ],
)
def test_what_is_wrong_is_rejected_by_the_api_server(
    operated: Operated, name: str, spec: Object, complaint: str
) -> None:
    with pytest.raises(Rejected, match=complaint):
        operated.release.apply(source(name, **spec))


def test_one_operator_serves_the_namespaces_that_let_it_in(url: str) -> None:
    central, other, empty = Release(url), Release(url), Release(url)
    try:
        single: dict[str, Any]  # for a small cluster
        single = {name: {"replicas": 1} for name in ("webhook", "conversations", "query")}
        central.install(**single, operator={"mode": "cluster"})
        invitation = {"name": "realmate-operator", "namespace": central.namespace}
        served = single | {"ingress": {"enabled": False}, "crds": {"enabled": False}}
        other.install(**served, operator={"mode": "elsewhere", "serviceAccount": invitation})
        assert not other.list("pods", "app.kubernetes.io/component=operator")
        for release, reason in ((central, "Ready"), (other, "Ready"), (empty, "NoInstallation")):
            release.apply(source("shop", signing=GENERATED))
            Operated(release).wait("shop", reason)
        assert Operated(other).secret("shop") != Operated(central).secret("shop")
        other.install(operator={"mode": "elsewhere", "serviceAccount": invitation | {"namespace": "nowhere"}})
        other.apply(source("late", signing=GENERATED))
        Operated(other).wait("late", "NoRights")
        with pytest.raises(Rejected):
            Operated(other).secret("late")
    finally:
        for release in (other, empty, central):
            release.delete()


def test_uninstalled_it_leaves_nothing_stuck(url: str) -> None:
    release = Release(url)
    try:
        release.install()
        Operated(release).make("held", deletionPolicy="Erase")
        release.uninstall()
        release.kubectl("delete", "webhooksource", "held", "--timeout=10s")
    finally:
        release.delete()
