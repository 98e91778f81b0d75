# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Authentication of clients: TLS, client certificates and bearer tokens."""

from __future__ import annotations

import hmac
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from mt_perception.errors import OffloadError
from mt_perception.offload.credentials import (
    CERTIFICATE,
    MIN_TOKEN_LENGTH,
    PRIVATE_KEY,
    certificate_warning,
    is_read_only,
    is_token,
    read_credential,
    read_pem,
    secret_warning,
)


@dataclass(frozen=True)
class ServerTls:
    """PEM files of a host with TLS.

    Attributes:
        certificate: Certificate chain of the host.
        key: Private key of the certificate, unencrypted.
        client_ca: CA certificates for clients; a client without a certificate of this CA is
            refused. None accepts clients without certificates.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Read the files.

        Raises:
            OffloadError: A file cannot be read or is no PEM file, or the key does not belong to
                the certificate.
        """
        certificate = read_pem(self.certificate, CERTIFICATE)
        key = read_pem(self.key, PRIVATE_KEY)
        _check_pair(self.certificate, self.key)
        ca = None if self.client_ca is None else read_pem(self.client_ca, CERTIFICATE)
        return grpc.ssl_server_credentials(
            [(key, certificate)], root_certificates=ca, require_client_auth=ca is not None
        )

    def warnings(self) -> list[str]:
        """Warnings about validity periods and file modes.

        Raises:
            OffloadError: A file cannot be read.
        """
        certificates = [self.certificate, *filter(None, [self.client_ca])]
        found = [*map(certificate_warning, certificates), secret_warning(self.key)]
        return [warning for warning in found if warning]


class Tokens:
    """The bearer tokens of a host.

    Args:
        clients: Token → name of the client. Each token is a client of its own; tokens with equal
            names are one client.
    """

    def __init__(self, clients: Mapping[str, str]) -> None:
        self._clients = {token.encode(): name for token, name in clients.items()}

    def client(self, authorization: str) -> str | None:
        """Name of the client that sent a header.

        Args:
            authorization: Value of the metadata ``authorization``: ``Bearer`` and a token.

        Returns:
            The name; None for an unknown token or another scheme.
        """
        scheme, _, token = authorization.partition(' ')
        sent = token.strip().encode('utf-8', 'replace')
        found = None
        # Compares every token in constant time: timing must not reveal a prefix of a token.
        for known, name in self._clients.items():
            if hmac.compare_digest(known, sent):
                found = name
        return found if scheme.lower() == 'bearer' else None


def read_tokens(file: Path) -> Tokens:
    """Read a file of tokens with lines of ``TOKEN`` or ``NAME TOKEN``.

    Empty lines and lines that begin with ``#`` are skipped. A token without a name gets the name
    ``token N`` with its line number.

    Raises:
        OffloadError: The file cannot be read, is writable and readable by other users, has no
            token or a line of another form.
    """
    content = read_credential(file).decode('utf-8', 'replace')
    if (warning := secret_warning(file)) and not is_read_only(file):
        raise OffloadError(warning)
    clients: dict[str, str] = {}
    for number, line in enumerate(content.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith('#'):
            continue
        *name, token = words
        if len(name) > 1 or not is_token(token):
            raise OffloadError(
                f'{file}, line {number}: expected "TOKEN" or "NAME TOKEN" with a token of at '
                f'least {MIN_TOKEN_LENGTH} letters, digits and ._~+/=-; make one with: '
                'openssl rand -hex 32'
            )
        clients[token] = name[0] if name else f'token {number}'
    if not clients:
        raise OffloadError(f'{file} has no token; make one with: openssl rand -hex 32')
    return Tokens(clients)


def _check_pair(certificate: Path, key: Path) -> None:
    """Check that a key belongs to a certificate; gRPC starts without this check.

    Raises:
        OffloadError: It does not.
    """
    try:
        # An empty password: OpenSSL would ask for a passphrase at the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password='')
    except (ssl.SSLError, OSError) as error:
        raise OffloadError(
            f'{key} is not the unencrypted private key of {certificate}: {error}'
        ) from error
