"""The contract suite runs against any Realmate: `pytest tests/contract --base-url http://host:port`.

Without the option it runs against `realmate up` on each transport, started once a session and only if a test needs it;
over RabbitMQ the events come from a source that signs them.
"""

from __future__ import annotations

import pytest

from client import Client
from server import LEAKED, SharedServer

SERVERS = pytest.StashKey[dict[str, SharedServer]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--base-url", help="Test the Realmate at this URL instead of one started here.")
    parser.addoption(
        "--through-edge", action="store_true", help="There is a proxy between: skip what it answers itself."
    )

    parser.addoption(
        "--through-proxy",
        action="store_true",
        help="The same, and the proxy is not ours: it speaks HTTP in its own way.",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    foreign = config.getoption("--through-proxy", default=False)
    edge = foreign or config.getoption("--through-edge", default=False)
    for item in items:
        if edge and item.get_closest_marker("direct"):
            item.add_marker(pytest.mark.skip(reason="holds without a proxy between"))
        if foreign and item.get_closest_marker("edge"):
            item.add_marker(pytest.mark.skip(reason="holds without a proxy, and behind ours"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "transport" in metafunc.fixturenames:
        transports = ["given"] if given_url(metafunc.config) else ["redis", "rabbitmq"]
        metafunc.parametrize("transport", transports, scope="session")


def given_url(config: pytest.Config) -> str | None:
    # A run of all tests finds this conftest too late for the parser, hence the default.
    url: str | None = config.getoption("--base-url", default=None)
    return url


@pytest.fixture(scope="session")
def base_url(transport: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the Realmate under test is, without a slash at the end: one on each transport, or the given one."""
    given = given_url(request.config)
    if given:
        return given.rstrip("/")
    directory = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # an xdist worker's own directory is in the session's
        directory = directory.parent
    directory = directory / f"contract-server-{transport}"
    directory.mkdir(exist_ok=True)
    servers = request.config.stash.setdefault(SERVERS, {})
    if transport not in servers:
        servers[transport] = SharedServer(directory, transport=transport)
    return servers[transport].join()


@pytest.fixture(scope="session")
def client(base_url: str, transport: str) -> Client:
    return Client(base_url, signs=transport == "rabbitmq")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    # Not in the fixture: waiting there for the other workers would count as a test's time.
    servers = session.config.stash.get(SERVERS, {}).values()
    for server in sorted(servers, key=lambda server: server.started_here):  # or two would wait for each other
        server.leave()
    if not hasattr(session.config, "workerinput") and _leaked(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for found in _leaked(config):
        terminalreporter.write_line(f"IN LOGS THERE IS WHAT MUST NOT BE THERE: {found}", red=True)


def _leaked(config: pytest.Config) -> list[str]:
    """What the servers of this session have told their logs; a worker of pytest-xdist cannot fail at its end."""
    factory = getattr(config, "_tmp_path_factory", None)
    directories = factory.getbasetemp().glob(f"contract-server-*/{LEAKED}") if factory is not None else []
    return [path.read_text() for path in directories]
