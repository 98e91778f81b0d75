# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Validity periods of certificates and modes of secret files, for client and host alike."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

pytest.importorskip('tritonclient.grpc', reason='needs the extra "offload"')
pytest.importorskip('cryptography', reason='makes certificates')
from certificates import Authority

from mt_perception.errors import OffloadError
from mt_perception.offload import credentials
from mt_perception.offload.credentials import (
    certificate_warning,
    is_read_only,
    is_token,
    secret_warning,
)
from mt_perception.offload.endpoint import ClientTls, Endpoint
from mt_perception.server.authentication import ServerTls, read_tokens

TOKEN = 'a' * 32
DAY_S = 86_400.0


@pytest.mark.parametrize(
    ('begins', 'days', 'expected'),
    [
        (-30, -1, 'has expired'),
        (1, 60, 'is not yet valid'),
        (-30, 10, 'expires in 10 days'),
        (-30, 29, 'expires in 29 days'),
        (-30, 31, ''),
    ],
)
def test_validity(begins: int, days: int, expected: str, tmp_path: Path) -> None:
    pair = Authority(tmp_path).signed('host', days=days, begins=begins)
    pair.key.chmod(0o600)
    warning = certificate_warning(pair.certificate)
    assert warning.startswith(f'the certificate in {pair.certificate} {expected}' * bool(expected))
    assert bool(warning) == bool(expected)
    assert ServerTls(pair.certificate, pair.key).warnings() == [warning] * bool(expected)
    client = ClientTls(None, pair.certificate, pair.key)
    assert Endpoint('host:1', client).warnings() == (warning,) * bool(expected)


def test_a_chain_is_as_old_as_its_oldest_certificate(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    good, old = authority.signed('good', days=90), authority.signed('old', days=-1)
    chain = tmp_path / 'chain.pem'
    chain.write_bytes(good.certificate.read_bytes() + old.certificate.read_bytes())
    assert 'has expired' in certificate_warning(chain)
    assert 'expires' in certificate_warning(good.certificate, time.time() + 80 * DAY_S)


def test_what_is_no_certificate(tmp_path: Path) -> None:
    file = tmp_path / 'file'
    with pytest.raises(OffloadError, match='is missing'):
        certificate_warning(file)
    file.write_text('-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n')
    with pytest.raises(OffloadError, match='no certificate'):
        certificate_warning(file)


@pytest.mark.parametrize(
    ('mode', 'warns', 'accepted'),
    [
        (0o600, False, True),
        (0o400, False, True),
        (0o440, True, True),
        (0o444, True, True),
        (0o640, True, False),
        (0o644, True, False),
        (0o660, True, False),
    ],
)
def test_modes_of_a_token_file(mode: int, warns: bool, accepted: bool, tmp_path: Path) -> None:
    file = tmp_path / 'tokens'
    file.write_text(f'scout {TOKEN}')
    file.chmod(mode)
    assert bool(secret_warning(file)) == warns
    if accepted:
        assert read_tokens(file).client(f'Bearer {TOKEN}') == 'scout'
    else:
        with pytest.raises(OffloadError, match=f'mode {mode:04o}.*chmod 600'):
            read_tokens(file)


def test_a_read_only_mount_cannot_be_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / 'tokens'
    file.write_text(TOKEN)
    file.chmod(0o644)
    assert not is_read_only(file)

    class Mounted:
        f_flag = os.ST_RDONLY

    monkeypatch.setattr(credentials.os, 'statvfs', lambda path: Mounted)
    assert is_read_only(file)
    assert read_tokens(file).client(f'Bearer {TOKEN}') == 'token 1'


def test_an_exposed_key_is_warned_about(tmp_path: Path) -> None:
    pair = Authority(tmp_path).signed('host', days=90)
    pair.key.chmod(0o644)
    (warning,) = ServerTls(pair.certificate, pair.key).warnings()
    assert 'mode 0644' in warning
    pair.key.chmod(0o600)
    assert not ServerTls(pair.certificate, pair.key).warnings()


@pytest.mark.parametrize(
    ('text', 'expected'),
    [('a' * 16, True), ('a' * 15, False), ('a b' * 8, False), ('ü' * 16, False)],
)
def test_tokens(text: str, expected: bool) -> None:
    assert is_token(text) == expected
