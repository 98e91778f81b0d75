# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Why a request was not answered: a short reason for counting, and a sentence that helps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import grpc

from mt_perception.offload.endpoint import Endpoint

LATE = 'late'
REFUSED = 'refused'
LOST = 'lost'
BAD_REPLY = 'bad_reply'


@dataclass(frozen=True)
class Failure:
    """Why there is no reply.

    Attributes:
        reason: Short and machine-readable.
        sentence: For an operator.
    """

    reason: str
    sentence: str

    @property
    def timed_out(self) -> bool:
        """Whether the time ran out, rather than that somebody said no."""
        return self.reason == LATE


# What gRPC says of a connection that does not come about → reason, and what to do. In this order:
# the more special comes first.
_CONNECTION: tuple[tuple[str, str, str], ...] = (
    ('certificate has expired', 'tls_expired', "the host's certificate has expired; renew it"),
    (
        'Hostname Verification Check failed',
        'tls_name',
        "the host's certificate is for another name; use that name or set the server name",
    ),
    (
        'not verified',
        'tls_name',
        "the host's certificate is for another name; use that name or set the server name",
    ),
    (
        'is not in peer certificate',
        'tls_name',
        "the host's certificate is for another name; use that name or set the server name",
    ),
    (
        'CERTIFICATE_VERIFY_FAILED',
        'tls_untrusted',
        "the host's certificate is of no authority that the robot trusts; check the CA file",
    ),
    (
        'WRONG_VERSION_NUMBER',
        'tls_plain_host',
        'the host does not speak TLS on this port; nothing was sent',
    ),
    ('Ssl handshake failed', 'tls', 'the TLS handshake failed'),
    ('DNS resolution failed', 'dns', 'its name cannot be resolved; check the name and the DNS'),
    ('Domain name not found', 'dns', 'its name cannot be resolved; check the name and the DNS'),
    ('address family', 'dns', 'its name cannot be resolved; check the name and the DNS'),
    (
        'Connection refused',
        REFUSED,
        'nothing listens there; start it with: mt_perception serve --model MODEL',
    ),
    ('GOAWAY', 'draining', 'the host is shutting down'),
    ('Socket closed', LOST, ''),
    ('Connection reset', LOST, ''),
    ('Broken pipe', LOST, ''),
    ('ailed to connect', 'unreachable', 'no connection could be made'),
)

_CODES: Mapping[grpc.StatusCode, tuple[str, str]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: (LATE, 'no reply within the deadline'),
    grpc.StatusCode.UNAUTHENTICATED: ('unauthenticated', 'the token is missing or wrong'),
    grpc.StatusCode.PERMISSION_DENIED: ('forbidden', 'the host does not serve this robot'),
    grpc.StatusCode.RESOURCE_EXHAUSTED: ('overloaded', 'the host has too much to do'),
    grpc.StatusCode.NOT_FOUND: ('no_model', 'the host serves another model or version'),
    grpc.StatusCode.INVALID_ARGUMENT: ('rejected', 'the host rejects the request'),
    grpc.StatusCode.FAILED_PRECONDITION: ('rejected', 'the host rejects the request'),
    grpc.StatusCode.UNIMPLEMENTED: ('foreign', 'the host speaks another protocol'),
}


def failure_of(error: grpc.RpcError, endpoint: Endpoint) -> Failure:
    """Put what gRPC raised into words."""
    code, details = error.code(), error.details() or ''
    if code in _CODES:
        reason, meaning = _CODES[code]
    else:
        reason, meaning = next(
            ((reason, meaning) for text, reason, meaning in _CONNECTION if text in details),
            (code.name.lower(), 'the request failed'),
        )
    if reason == LOST:
        reason, meaning = _lost(endpoint)
    said = '' if reason == LATE or not details else f' ({details[:300]})'
    return Failure(reason, f'remote host {endpoint.address}: {meaning}{said}')


def _lost(endpoint: Endpoint) -> tuple[str, str]:
    """A connection was closed from the other end, which may be its way of saying no.

    In TLS 1.3 a client believes itself connected before the host has looked at its certificate.
    """
    if endpoint.tls is None:
        return LOST, 'the connection was closed; a host that wants TLS does that, too'
    if endpoint.tls.certificate is None:
        return 'tls_client', (
            'the connection was closed; if the host wants a certificate of the robot, set the '
            'client certificate and key'
        )
    return LOST, "the connection was closed; the host may not trust the robot's certificate"


def late(address: str) -> Failure:
    """The reply did not come in time."""
    return Failure(LATE, f'remote host {address}: {_CODES[grpc.StatusCode.DEADLINE_EXCEEDED][1]}')


def bad_reply(error: Exception, address: str) -> Failure:
    """A reply came and cannot be used."""
    return Failure(BAD_REPLY, f'remote host {address}: its reply is refused: {error}')
