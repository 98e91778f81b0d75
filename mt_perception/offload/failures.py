# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Failed requests: a machine-readable reason and a sentence for the operator."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import grpc

from mt_perception.offload.endpoint import Endpoint, split_address

LATE = 'late'
REFUSED = 'refused'
LOST = 'lost'
BAD_REPLY = 'bad_reply'
UNREACHABLE = 'unreachable'
NOT_READY = 'not_ready'

_PROBE_S = 1.0
_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@dataclass(frozen=True)
class Failure:
    """A failed request.

    Attributes:
        reason: Machine-readable reason.
        sentence: Sentence for the operator.
    """

    reason: str
    sentence: str

    @property
    def timed_out(self) -> bool:
        """Whether the deadline passed before the host answered."""
        return self.reason == LATE

    @property
    def is_not_ready(self) -> bool:
        """Whether the host answers, but its model is still loading."""
        return self.reason == NOT_READY


_NAME = "the host's certificate is for another name; use that name or set the server name"
_DNS = 'its name cannot be resolved; check the name and the DNS'

# Text in the error of gRPC or OpenSSL → reason and advice; the first match counts.
_CONNECTION: tuple[tuple[str, str, str], ...] = (
    ('certificate has expired', 'tls_expired', "the host's certificate has expired; renew it"),
    (
        'certificate is not yet valid',
        'tls_not_yet_valid',
        "the host's certificate is not yet valid; check the clocks of both machines",
    ),
    ('Hostname Verification Check failed', 'tls_name', _NAME),
    ('Hostname mismatch', 'tls_name', _NAME),
    ('IP address mismatch', 'tls_name', _NAME),
    ('not verified', 'tls_name', _NAME),
    ('is not in peer certificate', 'tls_name', _NAME),
    (
        'CERTIFICATE_VERIFY_FAILED',
        'tls_untrusted',
        "the host's certificate is not signed by a trusted CA; check the CA file",
    ),
    (
        'WRONG_VERSION_NUMBER',
        'tls_plain_host',
        'the host does not use TLS on this port; nothing was sent',
    ),
    ('Ssl handshake failed', 'tls', 'the TLS handshake failed'),
    ('DNS resolution failed', 'dns', _DNS),
    ('Domain name not found', 'dns', _DNS),
    ('address family', 'dns', _DNS),
    (
        'Connection refused',
        REFUSED,
        'no server listens there; start one with: mt_perception serve --model MODEL',
    ),
    ('GOAWAY', 'draining', 'the host is shutting down'),
    ('Socket closed', LOST, ''),
    ('Connection reset', LOST, ''),
    ('Broken pipe', LOST, ''),
    (
        'before receiving SETTINGS',
        UNREACHABLE,
        'it accepts connections and does not answer; it is starting, overloaded or no host',
    ),
    ('ailed to connect', UNREACHABLE, 'no connection could be made'),
)

_CODES: Mapping[grpc.StatusCode, tuple[str, str]] = {
    grpc.StatusCode.DEADLINE_EXCEEDED: (LATE, 'no reply within the deadline'),
    grpc.StatusCode.UNAUTHENTICATED: ('unauthenticated', 'the token is missing or wrong'),
    grpc.StatusCode.PERMISSION_DENIED: ('forbidden', 'the host does not serve this robot'),
    grpc.StatusCode.RESOURCE_EXHAUSTED: ('overloaded', 'the host is overloaded'),
    grpc.StatusCode.NOT_FOUND: ('no_model', 'the host serves another model or version'),
    grpc.StatusCode.INVALID_ARGUMENT: ('rejected', 'the host rejects the request'),
    grpc.StatusCode.FAILED_PRECONDITION: ('rejected', 'the host rejects the request'),
    grpc.StatusCode.UNIMPLEMENTED: ('foreign', 'the host speaks another protocol'),
}


# Refusals that explain why a model is not ready better than that it is loading.
_SPECIFIC = frozenset(
    (
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.PERMISSION_DENIED,
    )
)


def rpc_failure(error: grpc.RpcError, endpoint: Endpoint) -> Failure:
    """The failure for an error of gRPC."""
    code, details = error.code(), error.details() or ''
    if code in _CODES:
        reason, meaning = _CODES[code]
    else:
        unmatched = 'the host is not ready' if code is _UNAVAILABLE else 'the request failed'
        reason, meaning = _match(details) or (code.name.lower(), unmatched)
    if reason == LOST:
        reason, meaning = _closed_connection(endpoint)
    quoted = '' if reason == LATE or not details else f' ({details[:300]})'
    return Failure(reason, f'remote host {endpoint.address}: {meaning}{quoted}')


def _match(details: str) -> tuple[str, str] | None:
    rows = ((reason, meaning) for text, reason, meaning in _CONNECTION if text in details)
    return next(rows, None)


def _closed_connection(endpoint: Endpoint) -> tuple[str, str]:
    """Possible causes of a connection that the host closed.

    In TLS 1.3 the client's handshake ends before the host has verified the client's certificate.
    """
    if endpoint.tls is None:
        return LOST, 'the connection was closed; a host that requires TLS does this, too'
    if endpoint.tls.certificate is None:
        return 'tls_client', (
            'the connection was closed; if the host requires a client certificate, set the client '
            'certificate and its key'
        )
    return LOST, "the connection was closed; the host may not trust the robot's certificate"


def late(address: str) -> Failure:
    """The failure of a request whose deadline passed."""
    return Failure(LATE, f'remote host {address}: {_CODES[grpc.StatusCode.DEADLINE_EXCEEDED][1]}')


def late_ping(address: str, seconds: float) -> Failure:
    """The failure of a host that connects and does not even answer a ping."""
    return Failure(
        LATE,
        f'remote host {address}: no answer to a ping within {seconds:g} s; the host is loading a '
        'model or is overloaded, or the link is too slow',
    )


def not_ready(error: grpc.RpcError | None, endpoint: Endpoint) -> Failure:
    """The failure of a host that reports that the model is not ready.

    Args:
        error: How the host refused to describe the model; None if it did not refuse.
        endpoint: The host.
    """
    if error is not None and error.code() in _SPECIFIC:
        return rpc_failure(error, endpoint)
    why = ''
    if error is not None and error.code() is _UNAVAILABLE:
        why = error.details() or ''
    why = why or 'it is loading a model, starting or stopping'
    return Failure(NOT_READY, f'remote host {endpoint.address} is not ready: {why[:300]}')


def bad_reply(error: Exception, address: str) -> Failure:
    """The failure of a request whose response is invalid."""
    return Failure(BAD_REPLY, f'remote host {address}: its response is invalid: {error}')


def probe_addresses(endpoint: Endpoint, failure: Failure) -> Failure:
    """Find the address that explains a failed connection to a name with several addresses.

    A name such as ``localhost`` has an IPv6 and an IPv4 address. gRPC tries both and reports the
    last error, which may be the refusal of the address where nothing listens. This opens one TCP
    connection to each address, with a TLS handshake if the endpoint uses TLS, for at most 1 s
    each.

    Args:
        endpoint: The endpoint.
        failure: The failure that gRPC reported.

    Returns:
        The failure of an address that accepts connections; else ``failure``.
    """
    if failure.reason not in (REFUSED, UNREACHABLE):
        return failure
    host, port = split_address(endpoint.address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return failure
    # Also if this resolver knows one address only: gRPC has a resolver of its own.
    for address in dict.fromkeys(str(info[4][0]) for info in found):
        if address == host:
            return failure
        cause = _probe(endpoint, host, address, port)
        if cause is not None:
            reason, meaning, quoted = cause
            where = f'remote host {endpoint.address} at {address}'
            return Failure(reason, f'{where}: {meaning} ({quoted[:300]})')
    return failure


def _probe(endpoint: Endpoint, host: str, address: str, port: int) -> tuple[str, str, str] | None:
    """Reason, advice and error of one address; None if nothing listens or all is well."""
    try:
        connection = socket.create_connection((address, port), _PROBE_S)
    except OSError:
        return None
    with connection:
        if endpoint.tls is None:
            return None
        try:
            context = ssl.create_default_context(cafile=endpoint.tls.ca)
            name = endpoint.tls.server_name or host
            with context.wrap_socket(connection, server_hostname=name):
                return None
        except (OSError, ValueError) as error:
            reason, meaning = _match(str(error)) or ('tls', 'the TLS handshake failed')
            return reason, meaning, str(error)
