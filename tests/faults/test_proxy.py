"""The proxies make the weather they are told to: a fault that does not strike would prove nothing."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from proxies import Proxies, Weather
from proxy import DELAY_S

PATIENCE_S = 20.0
SILENCE_S = 0.5


@pytest.fixture
def echo() -> Iterator[int]:
    """The port of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=[listener], daemon=True).start()
        yield listener.getsockname()[1]


def _serve(listener: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_echo, args=[connection], daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with closing(connection), suppress(OSError):
        while data := connection.recv(65_536):
            connection.sendall(data)


@pytest.fixture
def proxies(echo: int, tmp_path: Path) -> Iterator[tuple[Proxies, int]]:
    proxies = Proxies(tmp_path / "proxies.log")
    port = proxies.between("edge", echo)
    with proxies:
        yield proxies, port


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def receive(connection: socket.socket, length: int) -> bytes:
    received = b""
    while len(received) < length:
        received += connection.recv(length - len(received))
    return received


def assert_silent(connection: socket.socket) -> None:
    connection.settimeout(SILENCE_S)
    with pytest.raises(TimeoutError):
        connection.recv(1)
    connection.settimeout(PATIENCE_S)


def test_in_fair_weather_everything_passes(proxies: tuple[Proxies, int]) -> None:
    data = bytes(range(256)) * 4096
    with connect(proxies[1]) as connection:
        threading.Thread(target=connection.sendall, args=[data]).start()
        assert receive(connection, len(data)) == data


@pytest.mark.parametrize("weather", [Weather.BLACKHOLE, Weather.ONE_WAY])
def test_what_a_partition_holds_up_arrives_when_it_is_over(proxies: tuple[Proxies, int], weather: Weather) -> None:
    with connect(proxies[1]) as connection:
        connection.sendall(b"before")
        assert receive(connection, 6) == b"before"
        with proxies[0].weather("edge", weather):
            connection.sendall(b"meanwhile")
            assert_silent(connection)
        assert receive(connection, 9) == b"meanwhile"


def test_in_a_partition_new_connections_hear_nothing(proxies: tuple[Proxies, int]) -> None:
    with proxies[0].weather("edge", Weather.BLACKHOLE):
        connection = connect(proxies[1])
        connection.sendall(b"hello")
        assert_silent(connection)
    with connection:
        assert receive(connection, 5) == b"hello"


def test_a_delay_delays_and_keeps_the_order(proxies: tuple[Proxies, int]) -> None:
    data = b"".join(b"%06d" % number for number in range(5_000))
    with connect(proxies[1]) as connection:
        with proxies[0].weather("edge", Weather.DELAY):
            asked_at = time.monotonic()
            connection.sendall(data[:100])
            assert receive(connection, 100) == data[:100]
            assert time.monotonic() - asked_at >= 2 * DELAY_S
            threading.Thread(target=connection.sendall, args=[data[100:]]).start()
        assert receive(connection, len(data) - 100) == data[100:], "what was delayed is not overtaken"


def test_a_reset_cuts_old_and_new_connections(proxies: tuple[Proxies, int]) -> None:
    with connect(proxies[1]) as connection:
        connection.sendall(b"before")
        assert receive(connection, 6) == b"before"
        with proxies[0].weather("edge", Weather.RESET):
            with pytest.raises(ConnectionResetError):
                connection.recv(1)
            with pytest.raises((ConnectionResetError, BrokenPipeError)), connect(proxies[1]) as another:
                another.recv(1)
    with connect(proxies[1]) as connection:
        connection.sendall(b"after")
        assert receive(connection, 5) == b"after"


def test_where_nobody_listens_connections_are_cut(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    proxies = Proxies(tmp_path / "proxies.log")
    edge = proxies.between("edge", port)
    with proxies, pytest.raises(ConnectionResetError), connect(edge) as connection:
        connection.recv(1)


def test_when_the_address_moves_old_connections_stay_where_they_are(proxies: tuple[Proxies, int], echo: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        dead = nobody.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as other, connect(proxies[1]) as old:
        old.sendall(b"before")
        assert receive(old, 6) == b"before"
        proxies[0].move("edge", dead, other.getsockname()[1])
        with connect(proxies[1]) as new:
            new.sendall(b"hello")
            taken, _ = other.accept()
            with taken:
                assert receive(taken, 5) == b"hello", "the first port that accepts gets the connection"
        old.sendall(b"after")
        assert receive(old, 5) == b"after"
        proxies[0].move("edge", echo)
