# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the remote host node; none changes while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mt_perception.errors import OptionError
from mt_perception.nodes.parameter_schema import Change, Settings, parameter


@dataclass(frozen=True)
class RemoteHostSettings(Settings):
    """Parameters of the remote host node."""

    model: str = parameter(
        'model',
        'cspnano',
        'Name of an installed model, or path of a model folder.',
        change=Change.START,
    )
    listen_host: str = parameter(
        'listen.host',
        '127.0.0.1',
        'Address to listen at; 0.0.0.0 accepts other machines.',
        change=Change.START,
    )
    listen_port: int = parameter(
        'listen.port',
        8001,
        'TCP port; 0 selects a free port.',
        minimum=0,
        maximum=65535,
        change=Change.START,
    )
    tls_certificate: str = parameter(
        'tls.certificate',
        '',
        "PEM file with the host's certificate chain; empty uses plain text.",
        change=Change.START,
    )
    tls_key: str = parameter(
        'tls.key', '', 'PEM file with the private key of tls.certificate.', change=Change.START
    )
    tls_client_ca: str = parameter(
        'tls.client_ca',
        '',
        'PEM file with CA certificates for robots; empty accepts robots without a certificate.',
        change=Change.START,
    )
    token_file: str = parameter(
        'token_file',
        '',
        'File of accepted bearer tokens, lines of "TOKEN" or "NAME TOKEN"; empty accepts all.',
        change=Change.START,
    )
    workers: int = parameter(
        'workers',
        0,
        'Batches that run concurrently; 0 is the number of cores.',
        minimum=0,
        maximum=256,
        change=Change.START,
    )
    runtime_threads: int = parameter(
        'runtime.threads',
        0,
        'Threads of one network run; 0 is the number of workers for a run alone, else 1.',
        minimum=0,
        maximum=256,
        change=Change.START,
    )
    runtime_providers: tuple[str, ...] = parameter(
        'runtime.providers',
        ('CPUExecutionProvider',),
        'ONNX Runtime execution providers in order of preference, by name or with options as in '
        '"OpenVINO: {device_type: CPU}"; the CPU is the fallback.',
        change=Change.START,
    )
    batch_size: int = parameter(
        'batch.size',
        1,
        'Upper limit on requests in one network run.',
        minimum=1,
        maximum=256,
        change=Change.START,
    )
    batch_wait_ms: float = parameter(
        'batch.wait_ms',
        2.0,
        'Time that a request waits for others to form a batch, in ms.',
        minimum=0.0,
        maximum=1000.0,
        change=Change.START,
    )
    limits_per_client: int = parameter(
        'limits.per_client',
        4,
        'Upper limit on queued and running requests of one robot.',
        minimum=1,
        maximum=10_000,
        change=Change.START,
    )
    limits_waiting: int = parameter(
        'limits.waiting',
        256,
        'Upper limit on queued requests of all robots.',
        minimum=1,
        maximum=100_000,
        change=Change.START,
    )
    metrics_host: str = parameter(
        'metrics.host', '127.0.0.1', 'Address of the Prometheus metrics.', change=Change.START
    )
    metrics_port: int = parameter(
        'metrics.port',
        0,
        'Port of the metrics; 0 disables them.',
        minimum=0,
        maximum=65535,
        change=Change.START,
    )
    drain_s: float = parameter(
        'drain_s',
        5.0,
        'Time for accepted requests when the node stops, in s.',
        minimum=0.0,
        maximum=3600.0,
        change=Change.START,
    )

    def check(self) -> None:
        """Check combinations of values."""
        if bool(self.tls_certificate) != bool(self.tls_key) or (
            self.tls_client_ca and not self.tls_certificate
        ):
            raise OptionError('TLS needs both tls.certificate and tls.key')

    def file(self, name: str) -> Path | None:
        """The path in a parameter; None if it is empty."""
        value = str(self.value(name))
        return Path(value).expanduser() if value else None
