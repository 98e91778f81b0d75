# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The remote host: a gRPC server around an engine, from the first socket to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from mt_perception.errors import OffloadError
from mt_perception.offload.credentials import ServerTls, Tokens
from mt_perception.offload.dispatcher import Dispatcher
from mt_perception.offload.engine import Engine
from mt_perception.offload.limits import HostLimits
from mt_perception.offload.metrics import HostMetrics
from mt_perception.offload.protocol import KEEPALIVE_S
from mt_perception.offload.service import HostService
from mt_perception.runtime.manifest import Manifest

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
        engine: Engine,
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
        self._service = HostService(engine, self._dispatcher, self._limits, self.metrics, tokens)
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
