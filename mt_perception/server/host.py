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
from mt_perception.model.providers import CPU
from mt_perception.offload.credentials import secret_warning
from mt_perception.offload.protocol import KEEPALIVE_S
from mt_perception.server.address import Address, address_text
from mt_perception.server.authentication import ServerTls, read_tokens
from mt_perception.server.backends import Backend, LocalBackend
from mt_perception.server.dispatcher import Dispatcher
from mt_perception.server.health_service import HealthService
from mt_perception.server.limits import HostLimits
from mt_perception.server.metrics import HostMetrics
from mt_perception.server.service import InferenceService

_LAST_S = 1.0
"""Time for sending the last responses when all requests are done."""


@dataclass(frozen=True)
class HostSettings:
    """Settings of a remote host.

    Attributes:
        model: The model folder.
        address: Addresses to listen on.
        limits: Limits on requests, calls and times.
        tls: TLS files; None uses plain text.
        token_file: File of accepted bearer tokens; None accepts every client.
        workers: Batches that run concurrently; 0 is the number of cores.
        threads: Threads of one network run; 0 is the number of workers for a run alone, else 1.
        providers: ONNX Runtime execution providers in order of preference.
        drain_s: Time for accepted requests when the host stops.
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
        """Warnings for the operator about TLS, certificates and tokens.

        Raises:
            OffloadError: A file cannot be read.
        """
        warnings = [] if self.tls is None else self.tls.warnings()
        if self.token_file is not None and (exposed := secret_warning(self.token_file)):
            warnings.append(exposed)
        if self.address.is_loopback:
            return warnings
        if self.tls is None:
            warnings.append(
                f'{self.address.host} is open to other machines without TLS: others on the '
                'network can read images and tokens'
            )
        if self.token_file is None and (self.tls is None or self.tls.client_ca is None):
            warnings.append('every client is accepted: neither tokens nor a client CA are set')
        return warnings

    def backend(self) -> Backend:
        """A backend in this process."""
        workers = self.workers or len(os.sched_getaffinity(0))
        return LocalBackend(self.model, workers, self.threads, self.providers)


class RemoteHost:
    """A remote host: live when it listens, ready when its model is loaded and a worker runs.

    Args:
        settings: The settings.
        backend: Runs the requests; None runs them in this process.

    Attributes:
        settings: The settings.
        port: The TCP port, once the host listens.
        metrics: The Prometheus metrics.

    Raises:
        OffloadError: The token file is invalid.
    """

    def __init__(self, settings: HostSettings, backend: Backend | None = None) -> None:
        self.settings = settings
        self.port = settings.address.port
        self.metrics = HostMetrics()
        limits, token_file = settings.limits, settings.token_file
        tokens = None if token_file is None else read_tokens(token_file)
        self._backend = backend or settings.backend()
        self._dispatcher = Dispatcher(self._backend, limits, self.metrics)
        self._service = InferenceService(
            self._backend, self._dispatcher, limits, self.metrics, tokens
        )
        self._health = HealthService(lambda: self.ready, limits.request_s)
        self._health_updates: asyncio.Task[None] | None = None
        self._server: grpc.aio.Server | None = None
        self._stop_metrics: Callable[[], None] | None = None

    @property
    def manifest(self) -> Manifest | None:
        """The served model; None until it is loaded."""
        return self._backend.manifest

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings for the operator about the model."""
        manifest = self._backend.manifest
        if manifest is None or manifest.cut is not None:
            return self._backend.warnings
        uncut = f'{manifest.name} has no cut: this host serves images only, no features of robots'
        return (*self._backend.warnings, uncut)

    @property
    def ready(self) -> bool:
        """Whether a request that arrives now would run."""
        return self._service.ready

    @property
    def failure(self) -> str:
        """Error of a worker that failed within the last minute; empty without one."""
        return self._dispatcher.failure

    @property
    def waiting(self) -> int:
        """Number of queued requests."""
        return self._dispatcher.waiting

    async def listen(self) -> None:
        """Accept calls; requests are refused until the model is loaded.

        Raises:
            OffloadError: An address is in use, or a TLS file is invalid.
        """
        self._server = grpc.aio.server(
            options=_options(self.settings.limits),
            # Compression set by a call alone has no effect in gRPC's asyncio server.
            compression=grpc.Compression.Gzip,
        )
        self._server.add_generic_rpc_handlers((self._service.handler(), self._health.handler()))
        address, tls = self.settings.address, self.settings.tls
        place = address_text(address.host, address.port)
        credentials = None if tls is None else tls.credentials()
        try:
            if credentials is None:
                self.port = self._server.add_insecure_port(place)
            else:
                self.port = self._server.add_secure_port(place, credentials)
        except RuntimeError as error:
            raise OffloadError(
                f'cannot listen on {place}: the port is in use, or the address is not one of this '
                f'machine ({error})'
            ) from error
        if address.metrics_port:
            self._stop_metrics = self.metrics.serve(address.metrics_host, address.metrics_port)
        await self._server.start()
        self._health_updates = asyncio.create_task(self._health.run())

    async def load(self) -> None:
        """Load the model and accept requests.

        Raises:
            PerceptionError: The model cannot be loaded.
        """
        await self._backend.load()
        self._dispatcher.start()
        self._service.accepting = True

    async def stop(self) -> None:
        """Refuse new requests, finish accepted ones within ``drain_s`` and stop."""
        grace_s = self.settings.drain_s
        self._service.accepting = False
        # While the host drains, new requests get a reason; gRPC's own stop cancels them.
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._dispatcher.idle(), grace_s)
        if self._server is not None:
            await self._server.stop(min(grace_s, _LAST_S))
        if self._health_updates is not None:
            self._health_updates.cancel()
        await self._dispatcher.stop()
        await self._backend.close()
        if self._stop_metrics is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._stop_metrics)


def _options(limits: HostLimits) -> list[tuple[str, int]]:
    """Options of the gRPC server."""
    keepalive_ms = int(KEEPALIVE_S * 1e3)
    return [
        ('grpc.max_receive_message_length', limits.request_bytes),
        # gRPC would inflate a compressed message to any size before our check.
        ('grpc.per_message_decompression', 0),
        ('grpc.max_concurrent_streams', limits.open_per_client),
        ('grpc.max_metadata_size', 8192),
        # With port sharing, a second host at the same port would receive half of the requests.
        ('grpc.so_reuseport', 0),
        # Idle connections, vanished peers, and peers that ping too often.
        ('grpc.server_handshake_timeout_ms', int(limits.request_s * 1e3)),
        ('grpc.max_connection_idle_ms', int(limits.idle_s * 1e3)),
        ('grpc.keepalive_time_ms', keepalive_ms),
        ('grpc.keepalive_timeout_ms', keepalive_ms),
        ('grpc.keepalive_permit_without_calls', 1),
        ('grpc.http2.min_ping_interval_without_data_ms', keepalive_ms // 2),
        ('grpc.http2.max_ping_strikes', 3),
    ]


async def serve(host: RemoteHost, stop: asyncio.Event, announce: Callable[[str], None]) -> None:
    """Serve until a signal, then finish accepted requests.

    Args:
        host: The host.
        stop: Set to end the host.
        announce: Receives a sentence for each change of state, and warnings.

    Raises:
        PerceptionError: The host cannot listen, or the model cannot be loaded.
    """
    settings = host.settings
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
            # Long-lived objects leave the garbage collector; garbage of requests is found earlier.
            gc.collect()
            gc.freeze()
            if host.manifest is not None:
                announce(f'ready: {host.manifest.name} {host.manifest.version} at {place}')
            for warning in host.warnings:
                announce(f'warning: {warning}')
            await stopping
        announce(f'stopping; accepted requests have {settings.drain_s:g} s')
    finally:
        for task in (stopping, loading):
            if task is not None:
                task.cancel()
        await host.stop()
