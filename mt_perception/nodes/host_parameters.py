# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the remote host node; none changes while it runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mt_perception.errors import OptionError
from mt_perception.nodes.parameter_schema import Settings, start_parameter


@dataclass(frozen=True)
class RemoteHostSettings(Settings):
    """Parameters of the remote host node."""

    model: str = start_parameter(
        'model', 'cspnano', 'Name of an installed model, or path of a model folder.'
    )
    listen_host: str = start_parameter(
        'listen.host', '127.0.0.1', 'Address to listen on; 0.0.0.0 accepts other machines.'
    )
    listen_port: int = start_parameter(
        'listen.port', 8001, 'TCP port; 0 selects a free port.', limits=(0, 65535)
    )
    tls_certificate: str = start_parameter(
        'tls.certificate', '', "PEM file with the host's certificate chain; empty uses plain text."
    )
    tls_key: str = start_parameter(
        'tls.key', '', 'PEM file with the private key of tls.certificate.'
    )
    tls_client_ca: str = start_parameter(
        'tls.client_ca',
        '',
        'PEM file with CA certificates for robots; empty accepts robots without a certificate.',
    )
    token_file: str = start_parameter(
        'token_file',
        '',
        'File of accepted bearer tokens, lines of "TOKEN" or "NAME TOKEN"; empty accepts all.',
    )
    workers: int = start_parameter(
        'workers', 0, 'Batches that run concurrently; 0 is the number of cores.', limits=(0, 256)
    )
    runtime_threads: int = start_parameter(
        'runtime.threads',
        0,
        'Threads of one network run; 0 is the number of workers for a run alone, else 1.',
        limits=(0, 256),
    )
    runtime_providers: tuple[str, ...] = start_parameter(
        'runtime.providers',
        ('CPUExecutionProvider',),
        'ONNX Runtime execution providers in order of preference, by name or with options as in '
        '"OpenVINO: {device_type: CPU}"; the CPU is the fallback.',
    )
    batch_size: int = start_parameter(
        'batch.size', 1, 'Upper limit on requests in one network run.', limits=(1, 256)
    )
    batch_wait_ms: float = start_parameter(
        'batch.wait_ms',
        2.0,
        'Time that a request waits for others to form a batch, in ms.',
        limits=(0.0, 1000.0),
    )
    limits_per_client: int = start_parameter(
        'limits.per_client',
        4,
        'Upper limit on queued and running requests of one robot.',
        limits=(1, 10_000),
    )
    limits_waiting: int = start_parameter(
        'limits.waiting', 256, 'Upper limit on queued requests of all robots.', limits=(1, 100_000)
    )
    metrics_host: str = start_parameter(
        'metrics.host', '127.0.0.1', 'Address of the Prometheus metrics.'
    )
    metrics_port: int = start_parameter(
        'metrics.port', 0, 'Port of the metrics; 0 disables them.', limits=(0, 65535)
    )
    drain_s: float = start_parameter(
        'drain_s',
        5.0,
        'Time for accepted requests when the node stops, in s.',
        limits=(0.0, 3600.0),
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
        return Path(os.path.expanduser(value)) if value else None
