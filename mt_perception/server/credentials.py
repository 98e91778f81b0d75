# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Who may use a remote host: TLS, client certificates, and bearer tokens."""

from __future__ import annotations

import hmac
import re
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

import grpc

from mt_perception.errors import OffloadError

_MAX_BYTES = 1 << 20
_SHORTEST_TOKEN = 16
_TOKEN = re.compile(r'[A-Za-z0-9._~+/=-]+')


@dataclass(frozen=True)
class ServerTls:
    """Files of a host that is reached through TLS, each in PEM.

    Attributes:
        certificate: The host's certificate chain.
        key: Its private key.
        client_ca: Whoever wants to connect needs a certificate of this authority; None lets
            everybody.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Read the files.

        Raises:
            OffloadError: One cannot be read or is no PEM file, or the key is not the
                certificate's.
        """
        certificate, key = _pem(self.certificate, 'CERTIFICATE'), _pem(self.key, 'PRIVATE KEY')
        _check_pair(self.certificate, self.key)
        ca = None if self.client_ca is None else _pem(self.client_ca, 'CERTIFICATE')
        return grpc.ssl_server_credentials(
            [(key, certificate)], root_certificates=ca, require_client_auth=ca is not None
        )


class Tokens:
    """The bearer tokens that a host takes.

    Args:
        names: Token → the name of the robot that it was given to, or an empty string.
    """

    def __init__(self, names: dict[str, str]) -> None:
        self._names = {token.encode(): name for token, name in names.items()}

    def owner(self, authorization: str) -> str | None:
        """Whose token this is.

        Args:
            authorization: The metadata of that name, ``Bearer`` and a token.

        Returns:
            The name that belongs to it, which may be empty; None if it is none of ours.
        """
        scheme, _, token = authorization.partition(' ')
        given = token.strip().encode('utf-8', 'replace')
        found = None
        # All of them, whatever is found: how long it takes must not tell how near a guess is.
        for known, name in self._names.items():
            if hmac.compare_digest(known, given):
                found = name
        return found if scheme.lower() == 'bearer' else None


def read_tokens(file: Path) -> Tokens:
    """Read a file of tokens: one a line, after the name of the robot if each has its own.

    Empty lines and those that begin with ``#`` are left out.

    Raises:
        OffloadError: It cannot be read, others may read it, or a line is no token.
    """
    content = _read(file).decode('utf-8', 'replace')
    if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise OffloadError(f'{file} holds secrets that others may read; chmod 600 {file}')
    names: dict[str, str] = {}
    for number, line in enumerate(content.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith('#'):
            continue
        *name, token = words
        if len(name) > 1 or len(token) < _SHORTEST_TOKEN or not _TOKEN.fullmatch(token):
            raise OffloadError(
                f'{file}, line {number}: expected "TOKEN" or "NAME TOKEN", a token of '
                f'{_SHORTEST_TOKEN} or more letters, digits and ._~+/=-; make one with: '
                'openssl rand -hex 32'
            )
        names[token] = ''.join(name)
    if not names:
        raise OffloadError(f'{file} has no token; make one with: openssl rand -hex 32')
    return Tokens(names)


def _read(file: Path) -> bytes:
    try:
        if not file.is_file() or file.stat().st_size > _MAX_BYTES:
            raise OffloadError(f'{file} is no file, or too large to be what it should be')
        return file.read_bytes()
    except OSError as error:
        raise OffloadError(f'{file} cannot be read: {error}') from error


def _pem(file: Path, what: str) -> bytes:
    content = _read(file)
    if not re.search(rf'-----BEGIN [A-Z ]*{what}-----'.encode(), content):
        raise OffloadError(f'{file} is no PEM file with a {what}')
    return content


def _check_pair(certificate: Path, key: Path) -> None:
    """See that they belong together: gRPC would start all the same, and refuse every client.

    Raises:
        OffloadError: They do not.
    """
    try:
        # Never asks: a key with a passphrase would make a service wait for a terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password='')
    except (ssl.SSLError, OSError) as error:
        raise OffloadError(
            f'{certificate} and {key} are no certificate with its (unencrypted) key: {error}'
        ) from error
