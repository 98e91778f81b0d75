# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reaching the right host or none: TLS, tokens, and a cause in words for every refusal."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from certificates import Authority, Pair
from odd_host import OddHost

from mt_perception.errors import OffloadError
from mt_perception.offload import failures
from mt_perception.offload.circuit_breaker import CircuitBreaker
from mt_perception.offload.endpoint import ClientTls, Endpoint, connect, split_address
from mt_perception.offload.failures import REFUSED, Failure, probe_addresses
from mt_perception.offload.inference_client import InferenceClient

TOKEN = 'a-token-of-some-length'


@pytest.fixture(scope='module')
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp('certificates'))


def server_credentials(certificate: Pair, client_ca: Path | None = None) -> grpc.ServerCredentials:
    chain, key = certificate.certificate, certificate.key
    return grpc.ssl_server_credentials(
        [(key.read_bytes(), chain.read_bytes())],
        None if client_ca is None else client_ca.read_bytes(),
        client_ca is not None,
    )


@pytest.fixture(scope='module')
def tls_host(folder: Path, authority: Authority) -> Iterator[OddHost]:
    with OddHost(folder, server_credentials(authority.signed('host'))) as host:
        yield host


@pytest.fixture(scope='module')
def plain_host(folder: Path) -> Iterator[OddHost]:
    with OddHost(folder) as host:
        yield host


def connected(endpoint: Endpoint) -> str:
    """Empty if the host can be talked to, else the reason why not."""
    client = InferenceClient(endpoint, 'tiny', CircuitBreaker())
    try:
        if client.wait_ready(30 if not endpoint.address.endswith(':1') else 3):
            return ''
        assert client.last_failure is not None
        return client.last_failure.reason
    finally:
        client.close()


def first_failure(endpoint: Endpoint) -> tuple[str, str]:
    """Why the first attempt failed: reason and sentence."""
    client = InferenceClient(endpoint, 'tiny', CircuitBreaker())
    try:
        while client.last_failure is None:
            assert not client.wait_ready(0.05), 'it should not have been let in'
        return client.last_failure.reason, client.last_failure.sentence
    finally:
        client.close()


def test_plain_and_tls(plain_host: OddHost, tls_host: OddHost, authority: Authority) -> None:
    assert not connected(Endpoint(plain_host.address))
    assert not connected(Endpoint(tls_host.address, ClientTls(authority.certificate)))


def test_a_host_of_another_authority_is_not_believed(tls_host: OddHost, tmp_path: Path) -> None:
    other = Authority(tmp_path, 'other')
    reason, sentence = first_failure(Endpoint(tls_host.address, ClientTls(other.certificate)))
    assert reason == 'tls_untrusted'
    assert 'CA' in sentence


def test_the_systems_authorities_do_not_vouch_for_it(tls_host: OddHost) -> None:
    assert first_failure(Endpoint(tls_host.address, ClientTls()))[0] == 'tls_untrusted'


def test_an_expired_certificate(folder: Path, authority: Authority) -> None:
    credentials = server_credentials(authority.signed('old', days=-1))
    with OddHost(folder, credentials) as host:
        reason, sentence = first_failure(Endpoint(host.address, ClientTls(authority.certificate)))
    assert reason == 'tls_expired'
    assert 'renew' in sentence


def test_a_certificate_that_is_not_yet_valid(folder: Path, authority: Authority) -> None:
    credentials = server_credentials(authority.signed('new', begins=1, days=2))
    with OddHost(folder, credentials) as host:
        reason, sentence = first_failure(Endpoint(host.address, ClientTls(authority.certificate)))
    assert reason == 'tls_not_yet_valid'
    assert 'clock' in sentence


def test_the_address_that_failed_is_reported(
    folder: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name with two addresses: nothing listens on one, the other has an expired certificate."""
    credentials = server_credentials(authority.signed('expired', days=-1))
    refused = Failure(REFUSED, 'Connection refused')
    with OddHost(folder, credentials) as host:
        real = socket.getaddrinfo

        def resolved(name: str, *arguments: Any, **options: Any) -> list[Any]:
            if name != 'localhost':
                return real(name, *arguments, **options)
            return [(2, 1, 6, '', (address, host.port)) for address in ('::1', '127.0.0.1')]

        monkeypatch.setattr(failures.socket, 'getaddrinfo', resolved)
        endpoint = Endpoint(f'localhost:{host.port}', ClientTls(authority.certificate))
        found = probe_addresses(endpoint, refused)
        assert found.reason == 'tls_expired'
        assert f'localhost:{host.port} at 127.0.0.1: ' in found.sentence
        # Nothing else is explained by it.
        assert probe_addresses(Endpoint(f'localhost:{host.port}'), refused) is refused
        late = Failure('late', '')
        assert probe_addresses(endpoint, late) is late


def test_a_certificate_for_another_name(folder: Path, authority: Authority) -> None:
    credentials = server_credentials(authority.signed('elsewhere', 'elsewhere.example'))
    with OddHost(folder, credentials) as host:
        endpoint = Endpoint(host.address, ClientTls(authority.certificate))
        assert first_failure(endpoint)[0] == 'tls_name'
        named = ClientTls(authority.certificate, server_name='elsewhere.example')
        assert not connected(Endpoint(host.address, named))


def test_tls_never_falls_back_to_plain(plain_host: OddHost, authority: Authority) -> None:
    pings = plain_host.pings
    endpoint = Endpoint(plain_host.address, ClientTls(authority.certificate))
    assert first_failure(endpoint)[0] == 'tls_plain_host'
    assert plain_host.pings == pings


def test_plain_to_a_port_of_tls(tls_host: OddHost) -> None:
    reason, sentence = first_failure(Endpoint(tls_host.address))
    assert reason in {'lost', 'unreachable'}
    assert tls_host.address in sentence


def test_mutual_tls(folder: Path, authority: Authority, tmp_path: Path) -> None:
    credentials = server_credentials(authority.signed('mutual'), authority.certificate)
    with OddHost(folder, credentials) as host:
        ours = authority.signed('robot', 'robot')
        tls = ClientTls(authority.certificate, ours.certificate, ours.key)
        assert not connected(Endpoint(host.address, tls))
        reason, sentence = first_failure(Endpoint(host.address, ClientTls(authority.certificate)))
        assert reason == 'tls_client'
        assert 'certificate' in sentence
        other = Authority(tmp_path, 'stranger').signed('stranger', 'stranger')
        stranger = ClientTls(authority.certificate, other.certificate, other.key)
        assert first_failure(Endpoint(host.address, stranger))[0] in {
            'tls',
            'lost',
            'unreachable',
        }


def test_who_listens_nowhere(folder: Path) -> None:
    with socket.create_server(('127.0.0.1', 0)) as server:
        port = server.getsockname()[1]
    reason, sentence = first_failure(Endpoint(f'127.0.0.1:{port}'))
    assert reason == 'refused'
    assert 'mt_perception serve' in sentence


def test_a_name_that_nobody_knows() -> None:
    reason, sentence = first_failure(Endpoint('no-such-host.invalid:8001'))
    # Where there is no DNS at all, asking it takes longer than a ping may.
    assert reason in {'dns', 'late'}
    assert 'no-such-host.invalid' in sentence


def test_who_accepts_and_then_says_nothing() -> None:
    with socket.create_server(('127.0.0.1', 0)) as server:
        reason, _ = first_failure(Endpoint(f'127.0.0.1:{server.getsockname()[1]}'))
    assert reason in {'late', 'unreachable'}


def test_a_token_is_sent(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / 'token'
    file.write_text(TOKEN + '\n')
    endpoint = Endpoint('127.0.0.1:8001', token_file=file)
    connection = connect(endpoint)
    assert connection.metadata == (('authorization', f'Bearer {TOKEN}'),)
    # Nor does it appear where somebody logs the connection.
    assert TOKEN not in repr(connection)
    connection.channel.close()


@pytest.mark.parametrize(
    'text', ['', 'short', 'two words-of-sufficient-length', 'tökentökentöken']
)
def test_a_file_without_a_token_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / 'token'
    file.write_text(text)
    with pytest.raises(OffloadError, match='token'):
        connect(Endpoint('127.0.0.1:8001', token_file=file))


def test_a_token_does_not_travel_in_clear_text(tmp_path: Path) -> None:
    with pytest.raises(OffloadError, match='clear text'):
        Endpoint('robot-host.example:8001', token_file=tmp_path / 'token')
    Endpoint('robot-host.example:8001', ClientTls(), token_file=tmp_path / 'token')


def test_plain_text_to_another_machine_is_said_aloud() -> None:
    assert 'unencrypted' in Endpoint('192.168.1.20:8001').warnings()[0]
    assert not Endpoint('192.168.1.20:8001', ClientTls()).warnings()
    assert not Endpoint('localhost:8001').warnings()
    assert not Endpoint('[::1]:8001').warnings()


def test_files_that_are_not_what_they_should_be(tmp_path: Path, authority: Authority) -> None:
    some = authority.signed('some')
    chain, key = some.certificate, some.key
    wrong = tmp_path / 'wrong.pem'
    wrong.write_text('no PEM')
    for tls in (
        ClientTls(wrong),
        ClientTls(tmp_path / 'missing.pem'),
        ClientTls(tmp_path),
        ClientTls(authority.certificate, chain),
        ClientTls(authority.certificate, key=key),
        ClientTls(authority.certificate, key, chain),
    ):
        with pytest.raises(OffloadError):
            connect(Endpoint('127.0.0.1:8001', tls))


@pytest.mark.parametrize(
    ('address', 'host'),
    [
        ('127.0.0.1:1', '127.0.0.1'),
        ('[fd00::2]:8001', 'fd00::2'),
        ('my-host.local:80', 'my-host.local'),
    ],
)
def test_addresses(address: str, host: str) -> None:
    assert split_address(address)[0] == host


@pytest.mark.parametrize(
    'address',
    [
        '',
        'host',
        'host:',
        'host:0',
        'host:65536',
        ':80',
        'http://host:80',
        'fd00::2:80',
        'a b:80',
        'h:8\n',
    ],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(OffloadError, match='HOST:PORT'):
        split_address(address)


def test_a_closed_client_closes_its_connection(plain_host: OddHost) -> None:
    client = InferenceClient(Endpoint(plain_host.address), 'tiny', CircuitBreaker())
    assert client.wait_ready(30)
    client.close()
    with pytest.raises(ValueError, match='closed'):
        client._connection.channel.unary_unary('/x')(b'', timeout=1)
