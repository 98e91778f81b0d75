# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The proxy of the link tests is as bad as it is told to be, and no worse."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from mt_perception.evaluation.link.proxy import BUFFER, Proxy, main
from mt_perception.evaluation.link.shaped_link import ShapedLink


@pytest.fixture
def echo() -> Iterator[str]:
    """A server that sends back what it gets."""
    server = socket.create_server(('127.0.0.1', 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    yield f'127.0.0.1:{server.getsockname()[1]}'
    server.close()


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match='0'):
        main(['--help'])
    assert 'up RATE' in capsys.readouterr().out


@pytest.mark.parametrize('words', [['host', '0'], ['host:port', '0'], ['host:1'], []])
def test_wrong_arguments_are_wrong_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit, match='2'):
        main(words)


def there_and_back(connection: socket.socket, size: int) -> float:
    """Seconds that so many bytes take."""
    start_s = time.monotonic()
    sender = threading.Thread(target=connection.sendall, args=(bytes(size),))
    sender.start()
    got = 0
    while got < size:
        got += len(connection.recv(65536))
    sender.join()
    return time.monotonic() - start_s


def test_rate_and_delay_are_kept(echo: str) -> None:
    with (
        ShapedLink(echo, up=1.0, delay_ms=30) as proxy,
        socket.create_connection(('127.0.0.1', proxy.port)) as connection,
    ):
        # There is no lower bound that a machine could break by being fast.
        assert there_and_back(connection, 10) >= 0.06
        assert there_and_back(connection, 50_000) >= 0.4
        assert proxy.moved() == (50_010, 50_010)


def test_bytes_that_lay_here_before_the_link_was_made_are_delayed_too(echo: str) -> None:
    host, _, port = echo.rpartition(':')
    proxy = Proxy(host, int(port))
    proxy.do('delay 30')

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        await proxy.serve(reader, writer)

    async def seconds() -> float:
        server = await asyncio.start_server(late, '127.0.0.1', 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        start_s = time.monotonic()
        writer.write(b'hello')
        await reader.readexactly(5)
        writer.close()
        server.close()
        return time.monotonic() - start_s

    assert asyncio.run(seconds()) >= 0.16


def test_a_link_does_not_catch_up_what_a_stall_has_cost(echo: str) -> None:
    with (
        ShapedLink(echo, up=1.0) as proxy,
        socket.create_connection(('127.0.0.1', proxy.port)) as connection,
    ):
        there_and_back(connection, 10)
        proxy.tell('stall')
        proxy.moved()
        sender = threading.Thread(target=connection.sendall, args=(bytes(100_000),))
        sender.start()
        time.sleep(1)
        start_s = time.monotonic()
        proxy.tell('resume')
        got = 0
        while got < 100_000:
            got += len(connection.recv(65536))
        sender.join()
        # What the proxy holds is delivered at once, the rest at the link's rate.
        assert time.monotonic() - start_s >= (100_000 - 1.2 * BUFFER) * 8e-6


def test_a_stall_holds_everything_back_until_it_is_over(echo: str) -> None:
    with (
        ShapedLink(echo) as proxy,
        socket.create_connection(('127.0.0.1', proxy.port), timeout=0.3) as connection,
    ):
        there_and_back(connection, 10)
        proxy.tell('stall')
        proxy.moved()  # Its answer says that the stall has begun.
        connection.sendall(b'hello')
        with pytest.raises(TimeoutError):
            connection.recv(10)
        proxy.tell('resume')
        connection.settimeout(30)
        assert connection.recv(10) == b'hello'


def test_a_reset_is_a_reset_and_a_refusal_lasts(echo: str) -> None:
    with ShapedLink(echo) as proxy:
        connection = socket.create_connection(('127.0.0.1', proxy.port), timeout=30)
        there_and_back(connection, 10)
        proxy.tell('reset')
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
        proxy.tell('refuse')
        proxy.moved()
        # A proxy that is quick is heard while the connection is made, another one afterwards.
        with (
            pytest.raises(ConnectionResetError),
            socket.create_connection(('127.0.0.1', proxy.port), timeout=30) as again,
        ):
            again.recv(1)
        proxy.tell('accept')
        proxy.moved()
        with socket.create_connection(('127.0.0.1', proxy.port), timeout=30) as third:
            there_and_back(third, 10)
