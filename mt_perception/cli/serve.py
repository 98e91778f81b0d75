# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""``mt_perception serve``: a remote host that runs networks for robots."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from mt_perception.cli.shared_options import PROVIDER, THREADS, FiniteRange
from mt_perception.errors import OptionError
from mt_perception.resources import find_model
from mt_perception.server.address import DEFAULT_PORT, LOOPBACK, Address
from mt_perception.server.limits import HostLimits

if TYPE_CHECKING:
    from mt_perception.server.authentication import ServerTls
    from mt_perception.server.backends import Backend
    from mt_perception.server.host import HostSettings

_DEFAULT = HostLimits()
_FILE = click.Path(dir_okay=False, path_type=Path)
_PORT = click.IntRange(0, 65535)


# The character \b keeps click from wrapping the lines.
_EXAMPLES = """\b
On one machine, to try it:
  mt_perception serve
For robots in a network:
  mt_perception serve --host 0.0.0.0 --tls-cert host.pem --tls-key host.key --token-file tokens
"""


@click.command(epilog=_EXAMPLES)
@click.option('-m', '--model', default='cspnano', help='Model name or folder.')
@click.option('--host', default=LOOPBACK, help='Address to listen on.')
@click.option('--port', type=_PORT, default=DEFAULT_PORT, help='Port; 0: any free.')
@click.option('--tls-cert', type=_FILE, help="PEM file of the host's certificate chain.")
@click.option('--tls-key', type=_FILE, help="PEM file of the host's private key.")
@click.option('--client-ca', type=_FILE, help='PEM file of a CA; accept only its clients.')
@click.option(
    '--token-file', type=_FILE, help='File with lines of "TOKEN" or "NAME TOKEN"; chmod 600.'
)
@click.option(
    '--workers',
    type=click.IntRange(0, 256),
    default=0,
    help='Parallel network runs; 0: one per core.',
)
@click.option(
    '--threads',
    type=THREADS,
    default=0,
    help='Threads of one network run; 0: the number of workers for a run alone, else 1.',
)
@PROVIDER
@click.option(
    '--batch', type=int, default=_DEFAULT.batch, help='Largest number of frames in one run.'
)
@click.option(
    '--batch-wait-ms', default=_DEFAULT.batch_wait_ms, help='Time to wait for a full batch.'
)
@click.option(
    '--per-client', default=_DEFAULT.per_client, help='Largest number of requests of one robot.'
)
@click.option('--waiting', default=_DEFAULT.waiting, help='Largest number of queued requests.')
@click.option('--metrics-host', default=LOOPBACK, help='Address of the Prometheus metrics.')
@click.option('--metrics-port', type=_PORT, default=0, help='Port of the metrics; 0: none.')
@click.option(
    '--drain-s', type=FiniteRange(0, 3600), default=5.0, help='Time to finish after SIGTERM.'
)
@click.option(
    '--backend',
    '--engine',
    'backend',
    type=click.Choice(['local', 'ray']),
    default='local',
    help='This process, or replicas on Ray Serve.',
)
@click.option(
    '--replicas', type=click.IntRange(1), default=1, help='Smallest number of Ray replicas.'
)
@click.option(
    '--max-replicas',
    type=click.IntRange(1),
    help='Largest number of Ray replicas; default: --replicas.',
)
def serve(**given: Any) -> None:
    """Serve a model to robots over gRPC (Open Inference Protocol, KServe v2).

    A robot whose offload.endpoint names this host sends features of its images; this host runs
    the rest of the network and returns the results. By default only this machine can connect;
    with --host 0.0.0.0, use --tls-cert, --tls-key and --token-file.
    """
    # Help needs no gRPC.
    from mt_perception.server.host import HostSettings

    if math.isnan(given['drain_s']):
        raise click.UsageError('--drain-s must be a number of seconds, found nan')
    settings = HostSettings(
        model=find_model(given['model']),
        address=Address(
            given['host'], given['port'], given['metrics_host'], given['metrics_port']
        ),
        limits=HostLimits(
            **{name: given[name] for name in ('batch', 'batch_wait_ms', 'per_client', 'waiting')}
        ),
        tls=_tls(given['tls_cert'], given['tls_key'], given['client_ca']),
        token_file=given['token_file'],
        workers=given['workers'],
        threads=given['threads'],
        providers=given['providers'] or HostSettings.providers,
        drain_s=given['drain_s'],
    )
    backend = settings.backend()
    if given['backend'] == 'ray':
        backend = _ray_backend(settings, given['replicas'], given['max_replicas'])
    asyncio.run(_until_signalled(settings, backend))


def _tls(certificate: Path | None, key: Path | None, client_ca: Path | None) -> ServerTls | None:
    """TLS files, or None without TLS options.

    Raises:
        OptionError: The set of options is incomplete.
    """
    from mt_perception.server.authentication import ServerTls

    if certificate is not None and key is not None:
        return ServerTls(certificate, key, client_ca)
    if certificate is None and key is None and client_ca is None:
        return None
    # An incomplete set must not fall back to plain text.
    raise OptionError('TLS needs both --tls-cert and --tls-key')


def _ray_backend(settings: HostSettings, replicas: int, most: int | None) -> Backend:
    from mt_perception.server.ray_backend import RayBackend

    return RayBackend(
        settings.model, replicas, most or replicas, settings.threads or 1, settings.providers
    )


async def _until_signalled(settings: HostSettings, backend: Backend) -> None:
    from mt_perception.server.host import RemoteHost
    from mt_perception.server.host import serve as run_host

    console = Console(highlight=False, soft_wrap=True)
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            # A second signal ends the process without draining.
            os._exit(1)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    host = RemoteHost(settings, backend)
    await run_host(host, stop, lambda text: console.print(text, markup=False))
