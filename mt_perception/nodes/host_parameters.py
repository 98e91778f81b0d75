# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the remote host's node; each holds from start to end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mt_perception.errors import OptionError
from mt_perception.nodes.parameter_schema import Change, Settings, parameter


@dataclass(frozen=True)
class RemoteHostSettings(Settings):
    """What the remote host's node can be told."""

    model: str = parameter(
        'model',
        'cspnano',
        'Name of an installed model, or path of a model folder.',
        change=Change.START,
    )
    listen_host: str = parameter(
        'listen.host',
        '127.0.0.1',
        'Address to listen at; 0.0.0.0 lets other machines connect.',
        change=Change.START,
    )
    listen_port: int = parameter(
        'listen.port',
        8001,
        'TCP port; 0 takes one that is free.',
        minimum=0,
        maximum=65535,
        change=Change.START,
    )
    tls_certificate: str = parameter(
        'tls.certificate',
        '',
        "PEM file of the host's certificate chain; empty speaks plain text.",
        change=Change.START,
    )
    tls_key: str = parameter(
        'tls.key', '', 'PEM file of the private key to it.', change=Change.START
    )
    tls_client_ca: str = parameter(
        'tls.client_ca',
        '',
        'PEM file: only robots with a certificate of this authority may connect.',
        change=Change.START,
    )
    token_file: str = parameter(
        'token_file',
        '',
        'File with lines of "TOKEN" or "NAME TOKEN": only these are served.',
        change=Change.START,
    )
    workers: int = parameter(
        'workers',
        0,
        'Frames or batches worked on at once; 0 is one for each core.',
        minimum=0,
        maximum=256,
        change=Change.START,
    )
    runtime_threads: int = parameter(
        'runtime.threads',
        0,
        'Threads of one network run; 0 is one per worker where a run is alone, else one.',
        minimum=0,
        maximum=256,
        change=Change.START,
    )
    runtime_providers: tuple[str, ...] = parameter(
        'runtime.providers',
        ('CPUExecutionProvider',),
        'ONNX Runtime execution providers, most wanted first; the CPU is the last resort.',
        change=Change.START,
    )
    batch_size: int = parameter(
        'batch.size',
        1,
        'Most frames of robots that become one network run.',
        minimum=1,
        maximum=256,
        change=Change.START,
    )
    batch_wait_ms: float = parameter(
        'batch.wait_ms',
        2.0,
        'How long a frame waits for others to form a batch with.',
        minimum=0.0,
        maximum=1000.0,
        change=Change.START,
    )
    limits_per_client: int = parameter(
        'limits.per_client',
        4,
        'Requests of one robot here at any time.',
        minimum=1,
        maximum=10_000,
        change=Change.START,
    )
    limits_waiting: int = parameter(
        'limits.waiting',
        256,
        'Requests of all robots that wait at any time.',
        minimum=1,
        maximum=100_000,
        change=Change.START,
    )
    metrics_host: str = parameter(
        'metrics.host', '127.0.0.1', 'Address of the metrics for Prometheus.', change=Change.START
    )
    metrics_port: int = parameter(
        'metrics.port',
        0,
        'Port of the metrics; 0 serves none.',
        minimum=0,
        maximum=65535,
        change=Change.START,
    )
    drain_s: float = parameter(
        'drain_s',
        5.0,
        'How long requests that are here may still take when the node is told to end.',
        minimum=0.0,
        maximum=3600.0,
        change=Change.START,
    )

    def check(self) -> None:
        """Check values against each other."""
        if bool(self.tls_certificate) != bool(self.tls_key) or (
            self.tls_client_ca and not self.tls_certificate
        ):
            raise OptionError('TLS needs both tls.certificate and tls.key')

    def file(self, name: str) -> Path | None:
        """A file that a parameter names; None where it is empty."""
        value = str(self.value(name))
        return Path(value).expanduser() if value else None
