# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where the remote host is, and how the robot makes sure that it is the right one."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from mt_perception.errors import OffloadError
from mt_perception.offload.protocol import KEEPALIVE_S, MAX_REPLY_BYTES

_MAX_FILE_BYTES = 1 << 20
_SHORTEST_TOKEN = 16

_OPTIONS: tuple[tuple[str, int], ...] = (
    ('grpc.max_receive_message_length', MAX_REPLY_BYTES),
    # The breaker decides when to try again; gRPC would wait for minutes of its own.
    ('grpc.initial_reconnect_backoff_ms', 100),
    ('grpc.min_reconnect_backoff_ms', 1000),
    ('grpc.max_reconnect_backoff_ms', 1000),
    ('grpc.dns_min_time_between_resolutions_ms', 1000),
    ('grpc.enable_retries', 0),
    # Robots have a proxy for updates; images do not go that way.
    ('grpc.enable_http_proxy', 0),
    # A peer that went away without a word is noticed, and its connection given up.
    ('grpc.keepalive_time_ms', int(KEEPALIVE_S * 1e3)),
    ('grpc.keepalive_timeout_ms', 3000),
    # Two clients in one process must not share what happens to their connections.
    ('grpc.use_local_subchannel_pool', 1),
)


@dataclass(frozen=True)
class ClientTls:
    """How the host proves who it is, and the robot too where the host wants that.

    Attributes:
        ca: PEM file of the authorities that the host's certificate may be of; None takes the
            system's.
        certificate: PEM file of the robot's own certificate chain; None has none.
        key: PEM file of its private key.
        server_name: Name that the host's certificate must have, where it is not the endpoint's.
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
        tls: How to talk to it; None talks plainly.
        token_file: File with the robot's token; None has none.
    """

    address: str
    tls: ClientTls | None = None
    token_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what could only fail later, or would send a secret in clear text."""
        host_of(self.address)
        if self.token_file is not None and self.tls is None and not self.is_local:
            raise OffloadError(
                f'a token for {self.address} would travel in clear text; use TLS, or a tunnel '
                'that ends on this machine'
            )

    @property
    def is_local(self) -> bool:
        """Whether it is this machine, by its name or address."""
        host = host_of(self.address)
        if host == 'localhost':
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    @property
    def warnings(self) -> tuple[str, ...]:
        """What an operator should know, in sentences."""
        if self.tls is not None or self.is_local:
            return ()
        return (
            f'features of every image go to {self.address} unencrypted, and whoever answers is '
            'believed; use TLS on a network that others can reach',
        )


@dataclass(frozen=True)
class Connection:
    """An open channel and what goes with every request on it."""

    channel: grpc.Channel
    metadata: tuple[tuple[str, str], ...] = field(default=(), repr=False)


def host_of(address: str) -> str:
    """The host of an address.

    Raises:
        OffloadError: It is no ``HOST:PORT``.
    """
    match = re.fullmatch(r'(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+)):([0-9]{1,5})', address)
    if match is None or not 0 < int(match[3]) < 1 << 16:
        raise OffloadError(
            f'endpoint {address!r:.80} must be HOST:PORT, such as 192.168.1.20:8001 or '
            '[fd00::2]:8001'
        )
    return match[1] or match[2]


def connect(endpoint: Endpoint) -> Connection:
    """Open a channel; nothing is sent before the first request.

    Raises:
        OffloadError: A file of certificates or of the token cannot be used.
    """
    metadata: tuple[tuple[str, str], ...] = ()
    if endpoint.token_file is not None:
        metadata = (('authorization', f'Bearer {_token(endpoint.token_file)}'),)
    if endpoint.tls is None:
        return Connection(grpc.insecure_channel(endpoint.address, _OPTIONS), metadata)
    tls = endpoint.tls
    if (tls.certificate is None) != (tls.key is None):
        raise OffloadError('a client certificate and its key belong together; give both')
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_pem(tls.ca, 'CERTIFICATE'),
        private_key=_pem(tls.key, 'PRIVATE KEY'),
        certificate_chain=_pem(tls.certificate, 'CERTIFICATE'),
    )
    named = (('grpc.ssl_target_name_override', tls.server_name),) if tls.server_name else ()
    channel = grpc.secure_channel(endpoint.address, credentials, (*_OPTIONS, *named))
    return Connection(channel, metadata)


def _token(file: Path) -> str:
    words = _read(file).decode('utf-8', 'replace').split()
    if len(words) != 1 or len(words[0]) < _SHORTEST_TOKEN or not words[0].isascii():
        raise OffloadError(
            f'{file} must hold one token of {_SHORTEST_TOKEN} or more characters and nothing else'
        )
    return words[0]


def _pem(file: Path | None, what: str) -> bytes | None:
    if file is None:
        return None
    content = _read(file)
    if not re.search(rf'-----BEGIN [A-Z ]*{what}-----'.encode(), content):
        raise OffloadError(f'{file} is no PEM file with a {what}')
    return content


def _read(file: Path) -> bytes:
    try:
        if not file.is_file() or file.stat().st_size > _MAX_FILE_BYTES:
            raise OffloadError(f'{file} is missing, no file, or too large to be what it should be')
        return file.read_bytes()
    except OSError as error:
        raise OffloadError(f'{file} cannot be read: {error.strerror}') from error
