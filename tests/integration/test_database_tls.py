"""A database that is reached by TLS alone, with the certificate of an authority of its own: `sslmode=verify-full`.

The server is Debian's: that of the wheel knows no TLS.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
from functools import partial
from pathlib import Path

import pytest

from installation import event, start_installation
from needed import require_program
from realmate.local import postgres as local
from realmate.local.postgres import SETTINGS, Postgres
from realmate.runtime.database_readiness import SCHEMA_REVISION
from realmate.runtime.postgres import connect

PROGRAMS = Path("/usr/lib/postgresql/15/bin")


class Authority:
    """Signs certificates for servers."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.certificate, self._key = directory / "ca.crt", directory / "ca.key"
        self._openssl("-keyout", self._key, "-out", self.certificate, "-subj", "/CN=authority")

    def sign(self, name: str, directory: Path) -> tuple[Path, Path]:
        """A certificate and its key, for a server of this name; both belong to whom Postgres runs as."""
        certificate, key = directory / "server.crt", directory / "server.key"
        signer = ("-CA", self.certificate, "-CAkey", self._key)
        names = ("-subj", "/CN=database", "-addext", f"subjectAltName={name}")
        self._openssl("-keyout", key, "-out", certificate, *names, *signer)
        key.chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(key, user="nobody")
        return certificate, key

    def _openssl(self, *options: str | Path) -> None:
        openssl = require_program("openssl", package="openssl")
        command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", "2", *options]
        subprocess.run(command, check=True, capture_output=True)


class TlsPostgres(Postgres):
    """It takes connections by TLS alone; its certificate is for a server of this name."""

    def __init__(self, data_dir: Path, authority: Authority, *, name: str = "IP:127.0.0.1") -> None:
        super().__init__(data_dir)
        data_dir.mkdir(parents=True)
        certificate, key = authority.sign(name, data_dir)
        self.settings = SETTINGS | {"ssl": "on", "ssl_cert_file": str(certificate), "ssl_key_file": str(key)}
        self.trusted = authority.certificate

    @property
    def url(self) -> str:
        return f"{super().url}?sslmode=verify-full&sslrootcert={self.trusted}"


@pytest.fixture(autouse=True)
def debian(monkeypatch: pytest.MonkeyPatch) -> None:
    require_program(str(PROGRAMS / "postgres"), package="postgresql-15")
    monkeypatch.setattr(local, "binary", lambda name: str(PROGRAMS / name))
    monkeypatch.setattr(local, "INITDB_OPTIONS", [each for each in local.INITDB_OPTIONS if "builtin" not in each])


def test_everything_works_over_a_connection_that_is_verified(tmp_path: Path) -> None:
    make = partial(TlsPostgres, authority=Authority(tmp_path / "authority"))
    with start_installation(tmp_path, make_postgres=make) as installation:
        key = str(uuid.uuid4())
        assert installation.insist(event("NEW_CONVERSATION", id=key))[0] == 201
        assert installation.insist(event("CLOSE_CONVERSATION", id=key))[0] == 200
        assert installation.ask("GET", f"/conversations/{key}/")[1]["status"] == "CLOSED"
        connection = connect(installation.postgres.url, "test")
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT application_name, ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                " WHERE application_name LIKE 'realmate-%'"
            )
            sessions = set(cursor.fetchall())
        connection.close()
        assert sessions == {(f"realmate-conversations/{SCHEMA_REVISION}", True), ("realmate-query", True)}


@pytest.mark.parametrize(
    ("name", "trusts_it", "complaint"),
    [
        ("DNS:database.elsewhere", True, 'for "127.0.0.1" does not match host name|"database.elsewhere"'),
        ("IP:127.0.0.1", False, "certificate verify failed"),
    ],
)
def test_whoever_cannot_be_verified_gets_no_password(
    tmp_path: Path, name: str, complaint: str, *, trusts_it: bool
) -> None:
    with TlsPostgres(tmp_path / "postgres", Authority(tmp_path / "authority"), name=name) as server:
        if not trusts_it:
            server.trusted = Authority(tmp_path / "another").certificate
        done = subprocess.run(
            [sys.executable, "-m", "realmate", "migrate", "--wait", "0"],
            env=os.environ | {"DATABASE_URL": server.url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        [line] = done.stderr.splitlines()
        assert re.search(complaint, line)
        assert server.url.partition("@")[0] not in line
