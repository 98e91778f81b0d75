# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Remote hosts for tests: real sockets and threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from plain_client import PATIENCE_S, Robot, image, robot

from mt_perception.offload.protocol import serialize_request
from mt_perception.server.address import Address
from mt_perception.server.backends import Backend, LocalBackend
from mt_perception.server.host import HostSettings, RemoteHost, serve


@dataclass
class Running:
    """A host that runs in a thread of this process."""

    host: RemoteHost
    said: list[str]

    @property
    def target(self) -> str:
        return f'localhost:{self.host.port}'

    def outcomes(self) -> dict[str, int]:
        return self.host.metrics.outcomes()


@contextmanager
def running_host(
    folder: Path, backend: Backend | None = None, wait_ready: bool = True, **settings: Any
) -> Iterator[Running]:
    """A host at a free port of the loopback, until the end of the block."""
    made = HostSettings(folder, address=Address(port=0), workers=1, **settings)
    running = Running(RemoteHost(made, backend), [])
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    changed = threading.Event()
    failures: list[BaseException] = []

    def announce(sentence: str) -> None:
        running.said.append(sentence)
        changed.set()

    def run() -> None:
        try:
            loop.run_until_complete(serve(running.host, stop, announce))
        except BaseException as error:
            failures.append(error)
        changed.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        while not failures and not any(
            sentence.startswith('ready' if wait_ready else 'listening')
            for sentence in running.said
        ):
            assert changed.wait(PATIENCE_S), running.said
            changed.clear()
        if failures:
            raise failures[0]
        yield running
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE_S)
        loop.close()


class GatedBackend(LocalBackend):
    """The real backend, which loads and runs only when the test lets it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.may_load, self.may_run = threading.Event(), threading.Event()
        self.ran: list[list[str]] = []
        self.started = threading.Event()

    async def load(self) -> None:
        await asyncio.to_thread(self.may_load.wait, PATIENCE_S)
        await super().load()

    async def run(self, requests: Any, limit_s: float) -> Any:
        self.ran.append([admitted.request.request_id for admitted in requests])
        self.started.set()
        await asyncio.to_thread(self.may_run.wait, PATIENCE_S)
        return await super().run(requests, limit_s)

    @classmethod
    def loaded(cls, folder: Path) -> GatedBackend:
        backend = cls(folder)
        backend.may_load.set()
        return backend


@contextmanager
def load(
    target: str, folder: Path, clients: int = 4, timeout: float = 60.0
) -> Iterator[list[Any]]:
    """Robots that ask without a pause; yields the statuses that they get, in order."""
    statuses: list[Any] = []
    over = threading.Event()

    def go_on_asking() -> None:
        with robot(target, folder) as client:
            message = serialize_request(client.request(image()))
            while not over.is_set():
                try:
                    client.send(message, timeout)
                    statuses.append(grpc.StatusCode.OK)
                except grpc.RpcError as error:
                    statuses.append(error.code())

    threads = [threading.Thread(target=go_on_asking) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        over.set()
        for thread in threads:
            thread.join(PATIENCE_S)


def eventually(condition: Callable[[], Any], seconds: float = PATIENCE_S) -> bool:
    """Wait until a condition holds."""
    event = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if condition():
            return True
        event.wait(0.01)
    return bool(condition())


def never_sent(client: Robot, method: str) -> tuple[grpc.StatusCode, str]:
    """Call a method and send nothing until the host ends the call; its status and sentence."""
    over = threading.Event()

    def nothing() -> Iterator[bytes]:
        over.wait(PATIENCE_S)
        yield from ()

    try:
        client.channel.stream_unary(method)(nothing(), timeout=PATIENCE_S)
    except grpc.RpcError as error:
        return error.code(), error.details()
    finally:
        over.set()
    raise AssertionError('it was answered')
