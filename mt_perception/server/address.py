# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The addresses of a remote host."""

from __future__ import annotations

from dataclasses import dataclass

LOOPBACK = '127.0.0.1'
DEFAULT_PORT = 8001
"""The gRPC port of Triton and KServe."""


@dataclass(frozen=True)
class Address:
    """The addresses of a host.

    Attributes:
        host: Address or name to listen on.
        port: TCP port; 0 selects a free port.
        metrics_host: Address of the Prometheus metrics.
        metrics_port: Port of the metrics; 0 disables them.
    """

    host: str = LOOPBACK
    port: int = DEFAULT_PORT
    metrics_host: str = LOOPBACK
    metrics_port: int = 0

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        return self.host in ('localhost', '::1') or self.host.startswith('127.')


def address_text(host: str, port: int) -> str:
    """``HOST:PORT``, with brackets around an IPv6 address."""
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'
