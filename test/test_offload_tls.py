# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""TLS and mutual TLS: the wrong ones are refused, and nothing ever falls back to plain text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
import pytest

pytest.importorskip('tritonclient.grpc', reason='needs the extra "serve"')
pytest.importorskip('prometheus_client', reason='needs the extra "serve"')
pytest.importorskip('constriction', reason='needs the extra "serve"')
pytest.importorskip('cryptography', reason='makes certificates')
from certificates import Authority, Pair
from hosts import GatedBackend, running_host
from plain_client import image, robot

from mt_perception.errors import OffloadError
from mt_perception.offload.protocol import serialize_request
from mt_perception.server.authentication import ServerTls
from mt_perception.server.limits import HostLimits


@pytest.fixture(scope='module')
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp('ours'))


@pytest.fixture(scope='module')
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp('theirs'), 'other-ca')


@pytest.fixture(scope='module')
def tls_host(folder: Path, ours: Authority) -> Any:
    pair = ours.signed('host')
    with running_host(folder, tls=ServerTls(pair.certificate, pair.key)) as running:
        yield running


@pytest.fixture(scope='module')
def mutual_host(folder: Path, ours: Authority) -> Any:
    pair = ours.signed('mutual')
    tls = ServerTls(pair.certificate, pair.key, ours.certificate)
    with running_host(folder, tls=tls) as running:
        yield running


def trusting(authority: Authority, pair: Pair | None = None) -> grpc.ChannelCredentials:
    key, chain = (None, None)
    if pair is not None:
        key, chain = pair.key.read_bytes(), pair.certificate.read_bytes()
    return grpc.ssl_channel_credentials(authority.certificate.read_bytes(), key, chain)


def why_refused(target: str, folder: Path, credentials: grpc.ChannelCredentials | None) -> str:
    with robot(target, folder, credentials=credentials) as client:
        status, sentence = client.refused(client.request(image()), timeout=10)
    assert status == grpc.StatusCode.UNAVAILABLE, sentence
    return str(sentence)


def test_who_knows_the_authority_is_served(tls_host: Any, folder: Path, ours: Authority) -> None:
    with robot(tls_host.target, folder, credentials=trusting(ours)) as client:
        assert client.ask(client.request(image())).tensors


def test_another_authority(tls_host: Any, folder: Path, theirs: Authority) -> None:
    sentence = why_refused(tls_host.target, folder, trusting(theirs))
    assert 'CERTIFICATE_VERIFY_FAILED' in sentence
    assert 'unable to get local issuer certificate' in sentence


def test_a_certificate_that_has_expired(folder: Path, ours: Authority) -> None:
    pair = ours.signed('expired', days=-1)
    with running_host(folder, tls=ServerTls(pair.certificate, pair.key)) as running:
        sentence = why_refused(running.target, folder, trusting(ours))
    assert 'certificate has expired' in sentence


def test_a_certificate_of_another_host(folder: Path, ours: Authority) -> None:
    pair = ours.signed('elsewhere', host='elsewhere.example')
    with running_host(folder, tls=ServerTls(pair.certificate, pair.key)) as running:
        sentence = why_refused(running.target, folder, trusting(ours))
    assert 'ostname' in sentence or 'peer' in sentence.lower(), sentence


def test_plain_text_to_a_port_of_tls_and_the_other_way(
    tls_host: Any, folder: Path, ours: Authority
) -> None:
    assert why_refused(tls_host.target, folder, None)
    with running_host(folder) as plain:
        sentence = why_refused(plain.target, folder, trusting(ours))
    assert 'SSL' in sentence or 'handshake' in sentence.lower()
    assert not tls_host.outcomes().get('UNAVAILABLE')


def test_robots_show_their_certificates(
    mutual_host: Any, folder: Path, ours: Authority, theirs: Authority
) -> None:
    scout = ours.signed('scout')
    with robot(mutual_host.target, folder, credentials=trusting(ours, scout)) as client:
        assert client.ask(client.request(image())).tensors
    assert why_refused(mutual_host.target, folder, trusting(ours))
    stranger = theirs.signed('stranger')
    assert why_refused(mutual_host.target, folder, trusting(ours, stranger))
    former = ours.signed('former', days=-1)
    assert why_refused(mutual_host.target, folder, trusting(ours, former))


def test_robots_with_certificates_share_by_name(folder: Path, ours: Authority) -> None:
    pair, scout = ours.signed('third'), ours.signed('scout2')
    engine = GatedBackend.loaded(folder)
    with (
        running_host(
            folder,
            engine,
            tls=ServerTls(pair.certificate, pair.key, ours.certificate),
            limits=HostLimits(per_client=1),
        ) as running,
        robot(running.target, folder, credentials=trusting(ours, scout)) as one,
        robot(running.target, folder, credentials=trusting(ours, scout)) as two,
    ):
        first = one.infer.future(serialize_request(one.request(image())))
        assert engine.started.wait(30)
        status, _ = two.refused(two.request(image()))
        assert status == grpc.StatusCode.RESOURCE_EXHAUSTED
        engine.may_run.set()
        assert first.result()


def test_files_are_checked_before_anybody_connects(
    folder: Path, ours: Authority, tmp_path: Path
) -> None:
    one, two = ours.signed('one'), ours.signed('two')
    locked = ours.signed('locked', password=b'secret')
    empty = tmp_path / 'empty'
    empty.write_bytes(b'')
    missing = tmp_path / 'missing'
    for tls, sentence in (
        (ServerTls(missing, one.key), 'missing is missing'),
        (ServerTls(empty, one.key), 'no PEM block of kind CERTIFICATE'),
        (ServerTls(one.key, one.key), 'no PEM block of kind CERTIFICATE'),
        (ServerTls(one.certificate, one.certificate), 'no PEM block of kind PRIVATE KEY'),
        (ServerTls(one.certificate, two.key), 'is not the unencrypted private key'),
        (ServerTls(locked.certificate, locked.key), 'is not the unencrypted private key'),
        (ServerTls(one.certificate, one.key, empty), 'no PEM block of kind CERTIFICATE'),
    ):
        with pytest.raises(OffloadError, match=sentence), running_host(folder, tls=tls):
            pass
