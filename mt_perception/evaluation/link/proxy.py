# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A TCP proxy that simulates a bad link: rate, delay, jitter, stalls and resets.

It replaces ``tc netem`` and needs no root. Each direction has one token bucket, shared by all
connections like a radio link. Buffers are bounded, so that TCP slows down a fast sender. It runs
as a process that reads commands from its standard input: ``up 1.5``, ``down 1.5`` (Mbit/s; 0 is
unlimited), ``delay 20``, ``jitter 5`` (ms, one way), ``stall``, ``resume``, ``reset`` (every
connection), ``refuse``, ``accept``, ``moved``. For example:
``python -m mt_perception.evaluation.link.proxy 127.0.0.1:8001 8002``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

CHUNK = 1448
"""Bytes of a segment on an Ethernet or Wi-Fi link."""
BUFFER = 32_768
"""Bytes in flight in one direction of a connection, like a small router."""
AT_ONCE_S = 0.0002
"""A shorter read did not wait for bytes."""
_ABORT = struct.pack('ii', 1, 0)
"""SO_LINGER with zero time: closing sends a reset."""


class Direction:
    """One direction of the link: a token bucket with delay."""

    def __init__(self) -> None:
        self.bytes_per_s = 0.0
        self.delay_s = 0.0
        self.jitter_s = 0.0
        self.moved = 0
        self._free_s = 0.0
        self._chance = np.random.default_rng()

    def arrival_s(self, size: int, now_s: float) -> float:
        """Arrival time of bytes that are sent now."""
        self._free_s = max(self._free_s, now_s)
        if self.bytes_per_s:
            self._free_s += size / self.bytes_per_s
        self.moved += size
        return self._free_s + self.delay_s + self.jitter_s * self._chance.random()


class Proxy:
    """Forwards connections to one address."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self.up, self.down = Direction(), Direction()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._refusing = False
        self._writers: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection."""
        if self._refusing:
            _abort(writer)
            return
        self._writers.add(writer)
        other: asyncio.StreamWriter | None = None
        try:
            back, other = await asyncio.open_connection(*self._target)
            self._writers.add(other)
            await asyncio.gather(
                self._pump(reader, other, self.up), self._pump(back, writer, self.down)
            )
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            for end in (writer, other):
                if end is not None:
                    self._writers.discard(end)
                    _abort(end)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Direction
    ) -> None:
        """Forward bytes in one direction until one end closes."""
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(BUFFER // CHUNK)

        async def deliver() -> None:
            while True:
                when_s, data = await under_way.get()
                await asyncio.sleep(max(0.0, when_s - loop.time()))
                await self._flowing.wait()
                if not data:
                    raise ConnectionResetError
                writer.write(data)
                await writer.drain()

        delivering = asyncio.create_task(deliver())
        try:
            last_s, due_s = 0.0, loop.time()
            while not delivering.done():
                asked_s = loop.time()
                data = await reader.read(CHUNK)
                now_s = loop.time()
                # Bytes that were waiting did not arrive later because this process was late.
                came_s = now_s if now_s - asked_s > AT_ONCE_S else min(now_s, due_s)
                # Jitter must not make a stream overtake itself.
                last_s = max(last_s, way.arrival_s(len(data), came_s))
                # Slow down the sender, not only the receiver, to the rate of the link.
                due_s = last_s - way.delay_s - way.jitter_s
                held_back = under_way.full()
                await under_way.put((last_s, data))
                if not data:
                    break
                if held_back:  # A stalled link does not catch up.
                    due_s = max(due_s, loop.time())
                await asyncio.sleep(max(0.0, due_s - loop.time()))
            await delivering
        finally:
            delivering.cancel()

    def do(self, line: str) -> None:
        """Execute one command."""
        words = line.split()
        match words:
            case ['up' | 'down' as way, rate]:
                getattr(self, way).bytes_per_s = float(rate) * 1e6 / 8
            case ['delay' | 'jitter' as what, ms]:
                for direction in (self.up, self.down):
                    setattr(direction, f'{what}_s', float(ms) * 1e-3)
            case ['stall']:
                self._flowing.clear()
            case ['resume']:
                self._flowing.set()
            case ['reset']:
                for writer in tuple(self._writers):
                    _abort(writer)
            case ['refuse']:
                self._refusing = True
                self.do('reset')
            case ['accept']:
                self._refusing = False
            case ['moved']:
                _say(json.dumps([self.up.moved, self.down.moved]))
            case _:
                raise ValueError(f'unknown command {line!r}')


def _say(line: str) -> None:
    sys.stdout.write(f'{line}\n')
    sys.stdout.flush()


def _abort(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info('socket')
    if connection is not None:
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    writer.transport.abort()


async def forward(host: str, target_port: int, port: int) -> None:
    """Listen, print the port, and execute commands until standard input ends."""
    proxy = Proxy(host, target_port)
    server = await asyncio.start_server(proxy.serve, '127.0.0.1', port, limit=CHUNK)
    _say(str(server.sockets[0].getsockname()[1]))
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        try:
            proxy.do(line.decode())
        except ValueError as error:
            sys.stderr.write(f'{error}\n')
        await asyncio.sleep(0)


def main(words: Sequence[str] | None = None) -> None:
    """Read the command line and forward connections until standard input ends."""
    parser = argparse.ArgumentParser(
        prog=f'python -m {__spec__.name}',
        description='Forwards connections to LISTEN_PORT of this computer to HOST:PORT over a '
        'simulated bad link. The first line of the output is the port.',
        epilog='Lines of the standard input change the link: up RATE and down RATE (Mbit/s; 0: '
        'unlimited), delay MS and jitter MS (one way), stall, resume, reset (every connection), '
        'refuse, accept, moved.',
    )
    parser.add_argument('target', metavar='HOST:PORT', type=_address)
    parser.add_argument('port', metavar='LISTEN_PORT', type=int, help='0 takes a free port')
    given = parser.parse_args(words)
    host, target_port = given.target
    with suppress(KeyboardInterrupt):
        asyncio.run(forward(host, target_port, given.port))


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(':')
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f'expected HOST:PORT, found {text!r}')
    return host, int(port)


if __name__ == '__main__':
    main()
