# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The address of a remote host and the credentials for it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from mt_perception.errors import OffloadError
from mt_perception.offload.credentials import (
    CERTIFICATE,
    MIN_TOKEN_LENGTH,
    PRIVATE_KEY,
    certificate_warning,
    is_token,
    read_credential,
    read_pem,
    secret_warning,
)
from mt_perception.offload.protocol import KEEPALIVE_S, MAX_REPLY_BYTES

_OPTIONS: tuple[tuple[str, int], ...] = (
    ('grpc.max_receive_message_length', MAX_REPLY_BYTES),
    # The circuit breaker decides about retries; gRPC's back-off reaches minutes.
    ('grpc.initial_reconnect_backoff_ms', 100),
    ('grpc.min_reconnect_backoff_ms', 1000),
    ('grpc.max_reconnect_backoff_ms', 1000),
    ('grpc.dns_min_time_between_resolutions_ms', 1000),
    ('grpc.enable_retries', 0),
    # HTTP proxies of robots are for updates; they are not used for images.
    ('grpc.enable_http_proxy', 0),
    # Detects a peer that vanished without closing the connection.
    ('grpc.keepalive_time_ms', int(KEEPALIVE_S * 1e3)),
    ('grpc.keepalive_timeout_ms', 3000),
    # Two clients in one process must not share connections.
    ('grpc.use_local_subchannel_pool', 1),
)


@dataclass(frozen=True)
class ClientTls:
    """TLS of a client.

    Attributes:
        ca: PEM file with trusted CA certificates; None uses the system's.
        certificate: PEM file with the client's certificate chain; None sends none.
        key: PEM file with the private key of the certificate.
        server_name: Expected name in the host's certificate; empty is the endpoint's host.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ''


@dataclass(frozen=True)
class Endpoint:
    """A remote host.

    Attributes:
        address: ``HOST:PORT``.
        tls: TLS settings; None uses plain text.
        token_file: File with the robot's bearer token; None sends none.

    Raises:
        OffloadError: The address is malformed, or a token would be sent in plain text.
    """

    address: str
    tls: ClientTls | None = None
    token_file: Path | None = None

    def __post_init__(self) -> None:
        split_address(self.address)
        if self.token_file is not None and self.tls is None and not self.is_local:
            raise OffloadError(
                f'the token for {self.address} would be sent in clear text; use TLS, or a tunnel '
                'that ends on this machine'
            )

    @property
    def is_local(self) -> bool:
        """Whether the address is the loopback."""
        host, _ = split_address(self.address)
        if host == 'localhost':
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def warnings(self) -> tuple[str, ...]:
        """Warnings for the operator: plain text, validity periods, modes of secret files.

        Raises:
            OffloadError: A file cannot be read.
        """
        found: list[str] = []
        if self.tls is None and not self.is_local:
            found.append(
                f'features of every image are sent to {self.address} unencrypted and without '
                'authentication of the host; use TLS on a shared network'
            )
        tls = self.tls or ClientTls()
        found += map(certificate_warning, filter(None, [tls.ca, tls.certificate]))
        found += map(secret_warning, filter(None, [tls.key, self.token_file]))
        return tuple(warning for warning in found if warning)


@dataclass(frozen=True)
class Connection:
    """A gRPC channel and the metadata of each request.

    Attributes:
        channel: The channel.
        metadata: Authorization header; empty without a token.
    """

    channel: grpc.Channel
    metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of an address.

    Raises:
        OffloadError: The address is not ``HOST:PORT``.
    """
    match = re.fullmatch(r'(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})', address)
    if match is None or not 0 < int(match[3]) < 1 << 16:
        raise OffloadError(
            f'endpoint {address!r:.80} must be HOST:PORT, such as 192.168.1.20:8001 or '
            '[fd00::2]:8001'
        )
    return match[1] or match[2], int(match[3])


def connect(endpoint: Endpoint) -> Connection:
    """Open a channel; it connects with the first request.

    Raises:
        OffloadError: A certificate, key or token file cannot be used.
    """
    metadata: tuple[tuple[str, str], ...] = ()
    if endpoint.token_file is not None:
        metadata = (('authorization', f'Bearer {_read_token(endpoint.token_file)}'),)
    if endpoint.tls is None:
        return Connection(grpc.insecure_channel(endpoint.address, _OPTIONS), metadata)
    tls = endpoint.tls
    if (tls.certificate is None) != (tls.key is None):
        raise OffloadError('a client certificate needs its key and the key its certificate')
    credentials = grpc.ssl_channel_credentials(
        root_certificates=None if tls.ca is None else read_pem(tls.ca, CERTIFICATE),
        private_key=None if tls.key is None else read_pem(tls.key, PRIVATE_KEY),
        certificate_chain=(
            None if tls.certificate is None else read_pem(tls.certificate, CERTIFICATE)
        ),
    )
    named = (('grpc.ssl_target_name_override', tls.server_name),) if tls.server_name else ()
    channel = grpc.secure_channel(endpoint.address, credentials, (*_OPTIONS, *named))
    return Connection(channel, metadata)


def _read_token(file: Path) -> str:
    words = read_credential(file).decode('utf-8', 'replace').split()
    if len(words) != 1 or not is_token(words[0]):
        raise OffloadError(
            f'{file} must hold one token of at least {MIN_TOKEN_LENGTH} letters, digits and '
            '._~+/=- and nothing else'
        )
    return words[0]
