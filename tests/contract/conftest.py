"""The contract suite runs against any Realmate: `pytest tests/contract --base-url http://host:port`.

Without the option it runs against `realmate up`, started once a session and only if a test needs it.
"""

from __future__ import annotations

import pytest

from client import Client
from server import SharedServer

SERVER = pytest.StashKey[SharedServer]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--base-url", help="Test the Realmate at this URL instead of one started here.")


@pytest.fixture(scope="session")
def base_url(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the Realmate under test is, without a slash at the end."""
    # A run of all tests finds this conftest too late for the parser, hence the default.
    given: str | None = pytestconfig.getoption("--base-url", default=None)
    if given:
        return given.rstrip("/")
    directory = tmp_path_factory.getbasetemp()
    if hasattr(pytestconfig, "workerinput"):  # an xdist worker's own directory is in the session's
        directory = directory.parent
    directory = directory / "contract-server"
    directory.mkdir(exist_ok=True)
    server = pytestconfig.stash.setdefault(SERVER, SharedServer(directory))
    return server.join()


@pytest.fixture(scope="session")
def client(base_url: str) -> Client:
    return Client(base_url)


def pytest_sessionfinish(session: pytest.Session) -> None:
    # Not in the fixture: waiting there for the other workers would count as a test's time.
    server = session.config.stash.get(SERVER, None)
    if server is not None:
        server.leave()
