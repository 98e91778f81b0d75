# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The remote host: a gRPC server around a backend, from listening to draining."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from mt_perception.errors import OffloadError
from mt_perception.model.manifest import Manifest
from mt_perception.model.sessions import CPU
from mt_perception.offload.protocol import KEEPALIVE_S
from mt_perception.server.backends import Backend, LocalBackend
from mt_perception.server.credentials import ServerTls, Tokens, read_tokens
from mt_perception.server.dispatcher import Dispatcher
from mt_perception.server.limits import HostLimits
from mt_perception.server.metrics import HostMetrics
from mt_perception.server.service import InferenceService

LOOPBACK = '127.0.0.1'
DEFAULT_PORT = 8001
"""Where Triton and KServe listen for gRPC, too."""

_LAST_S = 1.0
"""Answers that are on their way when all work is done have this long to leave."""


@dataclass(frozen=True)
class Address:
    """Where a host listens.

    Attributes:
        host: Address or name; the loopback unless somebody says otherwise.
        port: TCP port; 0 takes one that is free.
        metrics_host: Address of the metrics for Prometheus.
        metrics_port: Their port; 0 serves none.
    """

    host: str = LOOPBACK
    port: int = DEFAULT_PORT
    metrics_host: str = LOOPBACK
    metrics_port: int = 0

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in ('localhost', '::1') or self.host.startswith('127.')


class RemoteHost:
    """A remote host.

    It is live when it listens, and ready when its model is loaded.

    Args:
        engine: Does the work.
        address: Where to listen.
        limits: What to take at most.
        tls: Files of TLS; None speaks plain text.
        tokens: Whose requests are served; None serves everybody who can connect.

    Attributes:
        port: The port that was taken, once it listens.
        metrics: What Prometheus is told.
    """

    def __init__(
        self,
        engine: Backend,
        address: Address,
        limits: HostLimits | None = None,
        tls: ServerTls | None = None,
        tokens: Tokens | None = None,
    ) -> None:
        self.port = address.port
        self.metrics = HostMetrics()
        self._engine = engine
        self._address = address
        self._limits = limits or HostLimits()
        self._tls = tls
        self._dispatcher = Dispatcher(engine, self._limits, self.metrics)
        self._service = InferenceService(
            engine, self._dispatcher, self._limits, self.metrics, tokens
        )
        self._server: grpc.aio.Server | None = None
        self._stop_metrics: Callable[[], None] | None = None

    @property
    def manifest(self) -> Manifest | None:
        """The model that is served, once it is loaded."""
        return self._engine.manifest

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should know about the model that is served."""
        manifest = self._engine.manifest
        if manifest is None or manifest.cut is not None:
            return self._engine.warnings
        uncut = (
            f'{manifest.name} has no cut, so it serves pictures only: robots cannot send features'
        )
        return (*self._engine.warnings, uncut)

    @property
    def ready(self) -> bool:
        """Whether requests are served."""
        return self._service.ready

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return self._dispatcher.waiting

    async def listen(self) -> None:
        """Be live: take calls, and refuse requests until the model is loaded.

        Raises:
            OffloadError: An address is taken, or a file of TLS is refused.
        """
        self._server = grpc.aio.server(
            options=_options(self._limits),
            # Asked for by a call alone it does nothing in gRPC's asyncio server.
            compression=grpc.Compression.Gzip,
            maximum_concurrent_rpcs=self._limits.connected,
        )
        self._server.add_generic_rpc_handlers(self._service.handlers())
        place = address_text(self._address.host, self._address.port)
        credentials = None if self._tls is None else self._tls.credentials()
        try:
            if credentials is None:
                self.port = self._server.add_insecure_port(place)
            else:
                self.port = self._server.add_secure_port(place, credentials)
        except RuntimeError as error:
            raise OffloadError(
                f'cannot listen at {place}: the port is taken, or the address is none of this '
                f'machine ({error})'
            ) from error
        if self._address.metrics_port:
            self._stop_metrics = self.metrics.serve(
                self._address.metrics_host, self._address.metrics_port
            )
        await self._server.start()

    async def load(self) -> None:
        """Load the model and be ready.

        Raises:
            PerceptionError: It cannot be loaded.
        """
        await self._engine.load()
        self._dispatcher.start()
        self._service.ready = True

    async def stop(self, grace_s: float) -> None:
        """Take no more requests, finish those that are here, and leave.

        Args:
            grace_s: What is not finished after so long is cancelled.
        """
        self._service.ready = False
        # gRPC cancels what it has not handed to us yet; refusing it by name is kinder.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._dispatcher.idle(), grace_s)
        if self._server is not None:
            await self._server.stop(min(grace_s, _LAST_S))
        await self._dispatcher.stop()
        await self._engine.close()
        if self._stop_metrics is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._stop_metrics)


def address_text(host: str, port: int) -> str:
    """An address as gRPC takes it; that of IPv6 is in brackets."""
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'


def _options(limits: HostLimits) -> list[tuple[str, int]]:
    """Settings of gRPC itself."""
    keepalive_ms = int(KEEPALIVE_S * 1e3)
    return [
        ('grpc.max_receive_message_length', limits.request_bytes),
        # A request that is inflated on arrival could be of any size before anybody looks.
        ('grpc.per_message_decompression', 0),
        ('grpc.max_concurrent_streams', max(8, 2 * limits.per_client)),
        ('grpc.max_metadata_size', 8192),
        # A second host at the same port would take half of the requests unnoticed.
        ('grpc.so_reuseport', 0),
        # Connections that say nothing, peers that vanished, and those who ping all the time.
        ('grpc.server_handshake_timeout_ms', int(limits.request_s * 1e3)),
        ('grpc.max_connection_idle_ms', int(limits.idle_s * 1e3)),
        ('grpc.keepalive_time_ms', keepalive_ms),
        ('grpc.keepalive_timeout_ms', keepalive_ms),
        ('grpc.keepalive_permit_without_calls', 1),
        ('grpc.http2.min_ping_interval_without_data_ms', keepalive_ms // 2),
        ('grpc.http2.max_ping_strikes', 3),
    ]


@dataclass(frozen=True)
class HostSettings:
    """Everything that a remote host can be told.

    Attributes:
        model: The model folder.
        address: Where to listen.
        limits: What to take at most.
        tls: Files of TLS; None speaks plain text.
        token_file: File of the tokens whose requests are served; None serves everybody.
        workers: Frames or batches worked on at once; 0 is one for each core.
        threads: Threads of one network run; 0 is one for each worker where a run is alone, else
            one.
        providers: ONNX Runtime execution providers, most wanted first.
        drain_s: How long requests that are here may still take when the host is told to stop.
    """

    model: Path
    address: Address = field(default_factory=Address)
    limits: HostLimits = field(default_factory=HostLimits)
    tls: ServerTls | None = None
    token_file: Path | None = None
    workers: int = 0
    threads: int = 0
    providers: tuple[str, ...] = (CPU,)
    drain_s: float = 5.0

    def warnings(self) -> list[str]:
        """What an operator should think about once more."""
        if self.address.is_loopback:
            return []
        warnings = []
        if self.tls is None:
            warnings.append(
                f'{self.address.host} is open to other machines without TLS: images of your robot '
                'and its tokens can be read on the way'
            )
        if self.token_file is None and (self.tls is None or self.tls.client_ca is None):
            warnings.append('everybody who can connect is served: there are no tokens and no CA')
        return warnings

    def engine(self) -> Backend:
        """An engine in this process."""
        workers = self.workers or len(os.sched_getaffinity(0))
        return LocalBackend(self.model, workers, self.threads, self.providers)

    def host(self, engine: Backend | None = None) -> RemoteHost:
        """The host that these settings describe.

        Args:
            engine: Does the work; by default this process.

        Raises:
            OffloadError: The file of tokens is refused.
        """
        tokens = None if self.token_file is None else read_tokens(self.token_file)
        return RemoteHost(engine or self.engine(), self.address, self.limits, self.tls, tokens)


async def serve(
    host: RemoteHost,
    settings: HostSettings,
    stop: asyncio.Event,
    announce: Callable[[str], None],
) -> None:
    """Serve until told to stop, and then finish what is here.

    Args:
        host: The host.
        settings: What it was made of.
        stop: Set by whoever wants it to end.
        announce: Told in a sentence what happens.

    Raises:
        PerceptionError: It cannot listen, or the model cannot be loaded.
    """
    stopping = asyncio.create_task(stop.wait())
    loading = None
    try:
        await host.listen()
        place = address_text(settings.address.host, host.port)
        announce(f'listening at {place}, loading {settings.model}')
        for warning in settings.warnings():
            announce(f'warning: {warning}')
        loading = asyncio.create_task(host.load())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            # What is here stays; without it, what requests leave behind is found early.
            gc.collect()
            gc.freeze()
            if host.manifest is not None:
                announce(f'ready: {host.manifest.name} {host.manifest.version} at {place}')
            for warning in host.warnings:
                announce(f'warning: {warning}')
            await stopping
        announce(f'stopping; requests that are here have {settings.drain_s:g} s')
    finally:
        for task in (stopping, loading):
            if task is not None:
                task.cancel()
        await host.stop(settings.drain_s)
