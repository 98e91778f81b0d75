# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A remote host's life: listen, load, serve until somebody says stop, drain, leave."""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from mt_perception.offload.credentials import ServerTls, read_tokens
from mt_perception.offload.engine import Engine, LocalEngine
from mt_perception.offload.limits import HostLimits
from mt_perception.offload.server import Address, RemoteHost, address_text
from mt_perception.runtime.sessions import CPU


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

    def engine(self) -> Engine:
        """An engine in this process."""
        workers = self.workers or len(os.sched_getaffinity(0))
        return LocalEngine(self.model, workers, self.threads, self.providers)

    def host(self, engine: Engine | None = None) -> RemoteHost:
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
