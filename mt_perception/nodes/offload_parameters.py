# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node's parameters of offloading: which host, by when, and how it is trusted."""

from __future__ import annotations

from dataclasses import dataclass

from mt_perception.errors import OptionError
from mt_perception.nodes.declaration import Change, Settings, parameter

_TLS_FILES = (
    'offload.tls.ca_file',
    'offload.tls.certificate_file',
    'offload.tls.key_file',
    'offload.tls.server_name',
)


@dataclass(frozen=True)
class OffloadParameters(Settings):
    """What the perception node can be told of a remote host that finishes its frames."""

    offload_enabled: bool = parameter(
        'offload.enabled',
        False,
        'Let a remote host finish frames; needs mt_perception[offload].',
        change=Change.UNCONFIGURED,
    )
    offload_endpoint: str = parameter(
        'offload.endpoint',
        '127.0.0.1:8001',
        'HOST:PORT of `mt_perception serve` with the same model.',
        change=Change.UNCONFIGURED,
    )
    offload_mode: str = parameter(
        'offload.mode',
        'auto',
        'auto: where it is better; always: where breaker and deadline allow; never: not now.',
        choices=('auto', 'always', 'never'),
    )
    offload_deadline_ms: float = parameter(
        'offload.deadline_ms',
        200.0,
        'From arrival of an image to its results; the own network is run in time to keep it.',
        minimum=1.0,
        maximum=60_000.0,
    )
    offload_tls_enabled: bool = parameter(
        'offload.tls.enabled',
        False,
        'Encrypt, and check that the host is the one it should be.',
        change=Change.UNCONFIGURED,
    )
    offload_tls_ca_file: str = parameter(
        'offload.tls.ca_file',
        '',
        "PEM file of who may vouch for the host; empty: the system's authorities.",
        change=Change.UNCONFIGURED,
    )
    offload_tls_certificate_file: str = parameter(
        'offload.tls.certificate_file',
        '',
        "PEM file of the robot's own certificate, for a host that wants one.",
        change=Change.UNCONFIGURED,
    )
    offload_tls_key_file: str = parameter(
        'offload.tls.key_file',
        '',
        'PEM file of its private key.',
        change=Change.UNCONFIGURED,
    )
    offload_tls_server_name: str = parameter(
        'offload.tls.server_name',
        '',
        "Name in the host's certificate, if it is not the endpoint's.",
        change=Change.UNCONFIGURED,
    )
    offload_token_file: str = parameter(
        'offload.token_file',
        '',
        "File with the robot's token, for a host that wants one.",
        change=Change.UNCONFIGURED,
    )

    def check(self) -> None:
        """Check values against each other: what somebody wanted encrypted never goes plain."""
        super().check()
        given = [name for name in _TLS_FILES if self.value(name)]
        if given and not self.offload_tls_enabled:
            raise OptionError(f'{given[0]} is set, but offload.tls.enabled is not: set it, too')
        if bool(self.offload_tls_certificate_file) != bool(self.offload_tls_key_file):
            raise OptionError(
                'offload.tls.certificate_file and offload.tls.key_file belong together'
            )
