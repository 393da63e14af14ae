"""The chart on a real cluster: it installs, upgrades, survives and leaves as it says."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import requests
import yaml

from helm import program
from ledger import load
from realmate.local.ports import free_port
from release import CHART, NAME, Rejected, Release, eventually

Values = dict[str, Any]
ROOT = CHART.parents[1]
MORE_DEATHS = 12
OTHERS = {"keda.sh", "gateway.networking.k8s.io", "postgresql.cnpg.io", "monitoring.coreos.com"}
VALIDATED = ("--dry-run=server", "--validate=strict")
VERSIONS = "realmate.dev/secret-versions"


@pytest.mark.parametrize("transport", ["redis", "amqp"])
def test_it_installs_where_there_is_nothing_and_passes_its_own_test(release: Release, transport: str) -> None:
    release.install(transport={"kind": transport})
    assert "Succeeded" in release.helm("test", NAME)
    with load(release) as ledger:
        time.sleep(5)
    ledger.verify()
    assert not ledger.rejected


def test_who_follows_the_documentation_gets_what_it_says(release: Release, tmp_path: Path) -> None:
    sections = ("A first installation", "A signed source", "Tokens for readers")
    said = run_documented(release, *sections, directory=tmp_path)
    assert said.count("Phase:          Succeeded") == 3
    assert '"id":"6a41b347-8d80-4ce9-84ba-7af66f369f6a","status":"OPEN"' in said
    assert '"status":"created"' in said


@pytest.mark.skipif("E2E_CRDS" not in os.environ, reason="E2E_CRDS names no directory with others' definitions")
def test_who_follows_the_documentation_to_production_gets_there(release: Release, tmp_path: Path) -> None:
    """The lines of "To production", for stores that are not the release's, with the values that they name."""
    release.kubectl("apply", "--server-side", "--filename", os.environ["E2E_CRDS"])
    urls = apply_stores(release, "stores")
    make_certificate(tmp_path)
    token = apply_token(release, tmp_path)
    release.kubectl(*("create", "secret", "generic", "realmate-test-token"), f"--from-literal=token={token}")
    run_documented(release, "To production", directory=tmp_path, replaced=urls)
    signing = {"scheme": "standard-webhooks", "generate": True}
    release.apply({**WEBHOOK_SOURCE, "metadata": {"name": "shop"}, "spec": {"signing": signing}})
    release.kubectl("wait", "webhooksource/shop", "--for=condition=Ready", "--timeout=180s")
    assert "Succeeded" in release.helm("test", NAME)


def apply_token(release: Release, directory: Path, *scopes: str) -> str:
    """Make the Secret `realmate-readers` with one token, of scope `read` unless told otherwise. Return the token."""
    command = [sys.executable, "-m", "realmate", "token", "test", *(f"--scope={scope}" for scope in scopes)]
    token = subprocess.run(command, check=True, capture_output=True, text=True)
    (directory / "tokens.toml").write_text(token.stdout)
    release.kubectl("create", "secret", "generic", "realmate-readers", "--from-file", str(directory / "tokens.toml"))
    return token.stderr.split()[-1]


def apply_stores(release: Release, name: str) -> dict[str, str]:
    """Start a Postgres and a Redis with a user for each service. Return their URLs by what the documentation has."""
    for store in ("postgres", "redis"):
        release.apply(*rendered(release, name, store).values())
        release.kubectl("rollout", "status", f"statefulset/{name}-{store}", "--timeout=120s")
    postgres = {user: release.secret(f"{name}-postgres", key) for user, key in POSTGRES_URLS.items()}
    redis = {user: release.secret(f"{name}-redis", key) for user, key in REDIS_URLS.items()}
    return {f"postgresql://{user}:…@database/realmate": url for user, url in postgres.items()} | {
        f"redis://{user}:…@redis:6379/0": url for user, url in redis.items()
    }


POSTGRES_URLS = {"owner": "DATABASE_URL", "writer": "WRITER_URL", "reader": "READER_URL"}
REDIS_URLS = {"": "REDIS_URL", "webhook": "WEBHOOK_URL", "conversations": "CONVERSATIONS_URL"}
WEBHOOK_SOURCE = {"apiVersion": "realmate.dev/v1alpha1", "kind": "WebhookSource"}


def make_certificate(directory: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "tls.key", "-out", "tls.crt"]
    subprocess.run([*command, "-subj", "/CN=realmate.example.com"], cwd=directory, check=True, capture_output=True)


def test_the_console_shows_its_page_and_sends_a_rejected_event_again(release: Release, tmp_path: Path) -> None:
    token = apply_token(release, tmp_path, "read", "operate")
    release.install(console={"enabled": True}, readers={"existingSecret": "realmate-readers"})

    def ask(method: str, path: str, **others: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "once"}
        return requests.request(method, release.url + path, headers=headers, timeout=10, **others)

    eventually(lambda: ask("GET", "/admin/overview").status_code == 200, "the Ingress leads to the console")
    assert requests.get(f"{release.url}/admin/overview", timeout=10).status_code == 401
    page = requests.get(f"{release.url}/", timeout=10)
    assert (page.url, page.status_code) == (f"{release.url}/console/", 200)
    assert "not built" not in page.text
    conversation = str(uuid4())
    message = {"id": str(uuid4()), "conversation_id": conversation, "content": "Olá"}
    body = {"type": "NEW_MESSAGE", "timestamp": "2025-06-04T14:20:05Z", "data": message}
    assert release.post(json.dumps(body).encode()) == 202
    of_it = {"conversation": conversation}
    eventually(lambda: ask("GET", "/admin/rejections/", params=of_it).json()["items"], "the message expires")
    replay = {"source": "default", "since": "2025-01-01T00:00:00Z", "dry_run": False}
    job = ask("POST", "/admin/replays/", json=of_it | replay).json()
    eventually(lambda: ask("GET", f"/admin/replays/{job['id']}/").json()["answers"] == {"202 held": 1}, "it is sent")


def test_the_contract_holds_through_the_ingress(release: Release) -> None:
    release.install()
    suite = [sys.executable, "-m", "pytest", "tests/contract", "-q", "-p", "no:cacheprovider", "--through-proxy"]
    done = subprocess.run(
        [*suite, "--base-url", release.url], cwd=ROOT, capture_output=True, text=True, check=False, timeout=900
    )
    print(done.stdout.splitlines()[-1])  # noqa: T201
    assert done.returncode == 0, done.stdout


def test_an_upgrade_from_the_version_before_loses_nothing(release: Release, tmp_path: Path) -> None:
    release.install(previous_chart(tmp_path))
    password = release.secret("realmate-postgres", "password")
    with load(release) as ledger:
        release.install()
        time.sleep(5)
    ledger.verify()
    assert not ledger.rejected
    assert release.secret("realmate-postgres", "password") == password


def previous_chart(directory: Path) -> Path:
    revision = os.environ.get("E2E_PREVIOUS") or _git("log", "-2", "--format=%H", "--", "charts/realmate").split()[-1]
    archive = subprocess.run(["git", "archive", revision, "charts"], cwd=ROOT, check=True, capture_output=True).stdout
    subprocess.run(["tar", "-x", "-C", str(directory)], input=archive, check=True)
    return directory / "charts" / "realmate"


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


WITH_OTHERS: tuple[Values, ...] = (
    {
        "keda": {"enabled": True},
        "httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}], "hostnames": ["realmate.example"]},
        "metrics": {"podMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}},
        "postgres": {"cloudnativepg": {"enabled": True}},
    },
    {"keda": {"enabled": True}, "transport": {"kind": "amqp"}, "metrics": {"serviceMonitor": {"enabled": True}}},
)


@pytest.mark.skipif("E2E_CRDS" not in os.environ, reason="E2E_CRDS names no directory with others' definitions")
def test_what_others_define_is_as_they_define_it(release: Release) -> None:
    """KEDA, the Gateway API, CloudNativePG, the Prometheus operator: their API servers' own checks, CEL included."""
    release.kubectl("apply", "--server-side", "--filename", os.environ["E2E_CRDS"])
    checked = set()
    for values in WITH_OTHERS:
        documents = release.helm("template", NAME, str(CHART), "--values", "-", stdin=json.dumps(values))
        for each in yaml.safe_load_all(documents):
            if each and each["apiVersion"].partition("/")[0] in OTHERS:
                release.kubectl("apply", *VALIDATED, "--filename", "-", stdin=json.dumps(each))
                checked.add(each["kind"])
    assert checked == {
        *("ScaledObject", "TriggerAuthentication", "HTTPRoute", "Cluster"),
        *("PodMonitor", "ServiceMonitor", "PrometheusRule"),
    }


def test_pods_that_die_at_random_take_nothing_with_them(release: Release) -> None:
    release.install()
    chance = random.Random(7)
    with load(release) as ledger:
        first = ["postgres", "redis", "webhook", "conversations", "query", "operator"]
        for component in first + [chance.choice(first) for _ in range(MORE_DEATHS)]:
            pods = release.list("pods", f"app.kubernetes.io/component={component}")
            pod = chance.choice(pods)["metadata"]["name"]
            release.kubectl("delete", "pod", pod, "--grace-period", chance.choice(["0", "30"]), "--wait=false")
            time.sleep(chance.uniform(1, 6))
        release.kubectl("rollout", "status", "--timeout=120s", "deployment/realmate-webhook")
    eventually(lambda: release.post(b"{}") == 400, "webhook answers again")
    ledger.verify()


def test_a_drain_that_begins_with_the_stores_answers_nothing_that_a_sender_takes_for_final(release: Release) -> None:
    release.install()
    with load(release) as ledger:
        for component in ["redis", "postgres", "webhook", "conversations", "query", "operator"]:
            for pod in release.list("pods", f"app.kubernetes.io/component={component}"):
                name = pod["metadata"]["name"]
                eventually(partial(evicted, release, name), f"its budget lets {name} go")
    eventually(lambda: release.post(b"{}") == 400, "webhook answers again")
    ledger.verify()
    assert set(ledger.rejected) <= {502, 503}


def evicted(release: Release, pod: str) -> bool:
    """As `kubectl drain` does it: the budget may say that it is too early."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod}}
    path = f"/api/v1/namespaces/{release.namespace}/pods/{pod}/eviction"
    try:
        release.kubectl("create", "--raw", path, "--filename", "-", stdin=json.dumps(eviction))
    except Rejected as rejected:
        if "disruption budget" not in str(rejected):
            raise
        return False
    return True


def test_an_upgrade_that_cannot_be_ready_leaves_the_old_pods_at_work(release: Release) -> None:
    release.install()
    with load(release) as ledger:
        with pytest.raises(Rejected):
            release.helm(
                *("upgrade", NAME, str(CHART), "--reuse-values", "--wait", "--timeout", "20s"),
                *("--set", "webhook.extraEnv[0].name=TOKENS_FILE,webhook.extraEnv[0].value=/nowhere"),
            )
        release.helm("rollback", NAME, "--wait", "--timeout", "120s")
    ledger.verify()
    assert not ledger.rejected


def test_a_move_to_another_postgres_loses_nothing(release: Release, tmp_path: Path) -> None:
    """The lines of docs/kubernetes.md move it. The chart rejects who skips them; a changed Secret restarts the pods."""
    release.install()
    url, image = another_postgres(release)
    external: dict[str, Any] = {"postgres": {"external": {"existingSecret": "database"}}}
    with load(release) as ledger:
        with pytest.raises(Rejected, match="abandonOwn"):
            release.install(**external)
        run_documented(release, "To another Postgres", directory=tmp_path, image=image, DATABASE_URL=url)
        time.sleep(5)
    ledger.verify()
    assert set(ledger.rejected) <= {503}
    assert [each["metadata"]["name"] for each in release.list("statefulsets")] == ["other-postgres", "realmate-redis"]
    before = secret_versions(release)
    release.kubectl("annotate", "secret", "database", "touched=yes")
    release.install(postgres={"external": {"existingSecret": "database", "abandonOwn": True}})
    after = secret_versions(release)
    assert {name for name in after if after[name] != before[name]} == {"realmate-conversations", "realmate-query"}
    for other in ("another", ""):
        with pytest.raises(Rejected, match="abandonOwn"):
            release.install(postgres={"external": {"existingSecret": other}})


@pytest.mark.parametrize("cause", ["switchover", "failover"])
def test_a_database_that_goes_to_its_standby_loses_nothing(release: Release, cause: str) -> None:
    """CloudNativePG's part is played here: two servers behind one Service, which is led to the new primary."""
    url, _ = another_postgres(release, "first")
    apply_standby(release, "second", of=url)
    psql(release, "first", "ALTER SYSTEM SET synchronous_standby_names = '*'")
    psql(release, "first", "SELECT pg_reload_conf()")
    lead_database_to(release, "first")
    apply_database_secret(release, url.replace("@first-postgres.", "@database."))
    release.install(postgres={"external": {"existingSecret": "database"}})
    with load(release) as ledger:
        time.sleep(5)
        if cause == "failover":
            release.kubectl("delete", "statefulset", "first-postgres", "--cascade=orphan")
            release.kubectl("delete", "pod", "first-postgres-0", "--grace-period=0", "--force")
        else:
            release.kubectl("scale", "statefulset/first-postgres", "--replicas=0")
            release.kubectl("wait", "--for=delete", "pod/first-postgres-0", "--timeout=60s")
        psql(release, "second", "SELECT pg_promote()")
        lead_database_to(release, "second")
        promoted_at = time.monotonic()
        eventually(lambda: release.post(b"{}") == 400, "webhook answers again")
        print(f"answers {time.monotonic() - promoted_at:.1f} s after the Service changed")  # noqa: T201
        time.sleep(10)
    ledger.verify()
    assert set(ledger.rejected) <= {503}


def apply_standby(release: Release, name: str, *, of: str) -> None:
    """A server that follows the one at `of`, which lets it."""
    let_in = "echo 'host replication all all scram-sha-256' >> $PGDATA/pg_hba.conf"
    release.kubectl("exec", "first-postgres-0", "--", "sh", "-c", let_in)
    psql(release, "first", "SELECT pg_reload_conf()")
    objects = rendered(release, name, "postgres")
    pod = objects["StatefulSet"]["spec"]["template"]["spec"]
    copy = f"pg_basebackup --dbname '{of}' --pgdata $PGDATA --write-recovery-conf --checkpoint fast"
    shared = {
        key: pod["containers"][0][key] for key in ("image", "imagePullPolicy", "securityContext", "env", "volumeMounts")
    }
    pod["initContainers"] = [
        {"name": "copy", "command": ["sh", "-c", f"test -s $PGDATA/PG_VERSION || {copy}"], **shared}
    ]
    release.apply(*objects.values())
    release.kubectl("rollout", "status", f"statefulset/{name}-postgres", "--timeout=120s")


def psql(release: Release, name: str, statement: str) -> None:
    client = ["psql", "--quiet", "--host=127.0.0.1", "--username=realmate", "--dbname=realmate"]
    release.kubectl("exec", f"{name}-postgres-0", "--", *client, f"--command={statement}")


def lead_database_to(release: Release, name: str) -> None:
    chosen = {"app.kubernetes.io/instance": name, "app.kubernetes.io/component": "postgres"}
    spec = {"selector": chosen, "ports": [{"port": 5432}]}
    release.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "database"}, "spec": spec})


def test_the_transport_changes_and_changes_back_without_a_503(release: Release) -> None:
    release.install()
    for kind, before in (("amqp", "redis"), ("redis", "amqp")):
        with load(release) as ledger:
            release.install(transport={"kind": kind, "drain": before})
            time.sleep(5)
            release.install(transport={"kind": kind, "drain": ""})
            time.sleep(5)
        ledger.verify()
        assert not ledger.rejected


def rendered(release: Release, name: str, store: str) -> dict[str, Values]:
    """Return what a release of that name would make for its own store, by kind."""
    values = ["--set", f"{store}.serviceAccount.create=false"]
    values += ["--values", os.environ["E2E_VALUES"]] if "E2E_VALUES" in os.environ else []
    documents = release.helm("template", name, str(CHART), "--show-only", f"templates/{store}.yaml", *values)
    return {each["kind"]: each for each in yaml.safe_load_all(documents)}


def another_postgres(release: Release, name: str = "other") -> tuple[str, str]:
    """A second server like the release's own: its URL, which is in Secret `database`, too, and its image."""
    objects = rendered(release, name, "postgres")
    release.apply(*objects.values())
    release.kubectl("rollout", "status", f"statefulset/{name}-postgres", "--timeout=120s")
    password = release.secret(f"{name}-postgres", "password")
    url = f"postgresql://realmate:{password}@{name}-postgres.{release.namespace}.svc:5432/realmate"
    apply_database_secret(release, url)
    return url, objects["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]["image"]


def apply_database_secret(release: Release, url: str) -> None:
    content = {"metadata": {"name": "database"}, "stringData": {"DATABASE_URL": url}}
    release.apply({"apiVersion": "v1", "kind": "Secret", **content})


def run_documented(
    release: Release,
    *titles: str,
    directory: Path,
    image: str = "",
    replaced: Mapping[str, str] | None = None,
    **environment: str,
) -> str:
    """Run the commands of sections of docs/kubernetes.md as one script, for this release, and return what they said.

    It leaves out those that bring the image to a cluster: whoever made the cluster has done that.
    """
    documentation = (ROOT / "docs/kubernetes.md").read_text()
    sections = [documentation.partition(f"\n## {title}\n")[2].partition("\n## ")[0] for title in titles]
    blocks = [block for section in sections for block in re.findall(r"```bash\n(.*?)```", section, re.DOTALL)]
    lines = "".join(block for block in blocks if "docker build" not in block)
    assert lines
    for example, real in (replaced or {}).items():
        assert example in lines
        lines = lines.replace(example, f"'{real}'")
    lines = lines.replace("--values k8s/", f"--values {ROOT}/k8s/")
    values = f" --values {os.environ['E2E_VALUES']}" if "E2E_VALUES" in os.environ else ""
    lines = lines.replace("--namespace realmate", f"--namespace {release.namespace}")
    lines = lines.replace("charts/realmate", str(CHART)).replace("--image=postgres:17", f"--image={image}")
    lines = lines.replace(f"install realmate {CHART}", f"install realmate {CHART} --take-ownership{values}")
    for port in ("8000", "8001"):
        own = str(free_port())
        lines = lines.replace(f" {port}:8000", f" {own}:8000").replace(f"127.0.0.1:{port}/", f"127.0.0.1:{own}/")
    programs = ":".join({str(Path(program(name)).parent) for name in ("helm", "kubectl")})
    path = f"{programs}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "trap 'kill $(jobs -p) 2> kill.log || true' EXIT\n" + lines],
        cwd=directory,
        env=os.environ | environment | {"PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def secret_versions(release: Release) -> dict[str, str]:
    return {
        each["metadata"]["name"]: each["spec"]["template"]["metadata"].get("annotations", {}).get(VERSIONS, "")
        for each in release.list("deployments")
    }


def test_what_is_uninstalled_leaves_what_was_asked_to_stay_and_is_found_again(release: Release) -> None:
    release.install()
    with load(release) as ledger:
        pass
    release.uninstall()
    eventually(lambda: not release.list("pods"), "its pods are gone")
    assert [each["metadata"]["name"] for each in release.list("pvc")] == ["data-realmate-postgres-0"]
    assert [each["metadata"]["name"] for each in release.list("secrets")] == ["realmate-postgres"]
    kinds = "deployments,statefulsets,jobs,services,ingresses,roles,rolebindings,networkpolicies,podtemplates,pdb"
    assert release.list(kinds) == []
    release.install()
    eventually(lambda: release.post(b"{}") == 400, "webhook answers again")
    ledger.verify()
