# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files of certificates, keys and bearer tokens, read by the client and by the host alike."""

from __future__ import annotations

import os
import re
import ssl
import stat
import time
from datetime import datetime, timezone
from pathlib import Path

from mt_perception.errors import OffloadError

CERTIFICATE = 'CERTIFICATE'
PRIVATE_KEY = 'PRIVATE KEY'
MIN_TOKEN_LENGTH = 16

_MAX_BYTES = 1 << 20
_DAY_S = 86_400.0
_WARNING_DAYS = 30
_DATE = '%Y-%m-%d %H:%M UTC'
_VERSION, _UTC_TIME = 0xA0, 0x17
_PEM_CERTIFICATE = re.compile('-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----', re.DOTALL)
_TOKEN = re.compile(r'[A-Za-z0-9._~+/=-]+')


def read_credential(file: Path) -> bytes:
    """Read a file of at most 1 MiB.

    Raises:
        OffloadError: The file is missing, too large or not readable.
    """
    try:
        if not file.is_file() or file.stat().st_size > _MAX_BYTES:
            raise OffloadError(
                f'{file} is missing, no regular file or larger than {_MAX_BYTES} bytes; '
                'check the path'
            )
        return file.read_bytes()
    except OSError as error:
        raise OffloadError(f'{file} cannot be read: {error.strerror}') from error


def read_pem(file: Path, kind: str) -> bytes:
    """Read a PEM file.

    Args:
        file: The file.
        kind: `CERTIFICATE` or `PRIVATE_KEY`; one block of this kind is required.

    Raises:
        OffloadError: The file cannot be read or has no such block.
    """
    content = read_credential(file)
    if not re.search(rf'-----BEGIN [A-Z ]*{kind}-----'.encode(), content):
        raise OffloadError(f'{file} has no PEM block of kind {kind}; expected a PEM file')
    return content


def is_token(text: str) -> bool:
    """Whether a text can be a bearer token (RFC 6750, section 2.1) of sufficient length."""
    return len(text) >= MIN_TOKEN_LENGTH and _TOKEN.fullmatch(text) is not None


def secret_warning(file: Path) -> str:
    """A warning if other users can read a secret; empty if only its owner can.

    Raises:
        OffloadError: The file cannot be inspected.
    """
    mode = _mode(file)
    if not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return ''
    advice = 'it is read-only here' if is_read_only(file) else f'chmod 600 {file}'
    return (
        f'{file} is a secret with mode {stat.S_IMODE(mode):04o}, which other users can read; '
        f'{advice}'
    )


def is_read_only(file: Path) -> bool:
    """Whether a file is mounted as containers mount secrets: without write bits or read-only.

    Nobody in the container can change such a mode.

    Raises:
        OffloadError: The file cannot be inspected.
    """
    writable = _mode(file) & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    return not writable or bool(os.statvfs(file).f_flag & os.ST_RDONLY)


def _mode(file: Path) -> int:
    try:
        return file.stat().st_mode
    except OSError as error:
        raise OffloadError(f'{file} cannot be read: {error.strerror}') from error


def certificate_warning(file: Path, now_s: float | None = None) -> str:
    """A warning if a certificate is expired, not valid yet or expires within 30 days.

    Args:
        file: PEM file; of a chain the latest begin and the earliest end count.
        now_s: Unix time; None is now.

    Returns:
        The warning; empty if the certificate is valid for longer.

    Raises:
        OffloadError: The file cannot be read or holds no certificate.
    """
    now_s = time.time() if now_s is None else now_s
    blocks = _PEM_CERTIFICATE.findall(read_pem(file, CERTIFICATE).decode('ascii', 'replace'))
    try:
        periods = [_validity(ssl.PEM_cert_to_DER_cert(block)) for block in blocks]
        begin, end = max(begin for begin, _ in periods), min(end for _, end in periods)
    except (ValueError, IndexError) as error:
        raise OffloadError(f'{file} holds no certificate that can be parsed: {error}') from error
    if now_s >= end.timestamp():
        return f'the certificate in {file} has expired ({end:{_DATE}}); renew it'
    if now_s < begin.timestamp():
        return (
            f'the certificate in {file} is not yet valid (before {begin:{_DATE}}); '
            "check this machine's clock"
        )
    days = (end.timestamp() - now_s) / _DAY_S
    if days < _WARNING_DAYS:
        return f'the certificate in {file} expires in {days:.0f} days ({end:{_DATE}}); renew it'
    return ''


def _validity(der: bytes) -> tuple[datetime, datetime]:
    """Begin and end of a certificate's validity (RFC 5280, section 4.1).

    Python's ssl module shows this of connected peers only.
    """
    (_, certificate) = _elements(der)[0]
    (_, content) = _elements(certificate)[0]
    fields = _elements(content)
    if fields[0][0] == _VERSION:
        fields = fields[1:]
    # serialNumber, signature, issuer, validity
    begin, end = (_time(*element) for element in _elements(fields[3][1]))
    return begin, end


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """(Tag, content) of each element of a DER sequence (ITU-T X.690, section 8.1)."""
    found, at = [], 0
    while at < len(der):
        tag, length, at = der[at], der[at + 1], at + 2
        if length & 0x80:
            size = length & 0x7F
            length, at = int.from_bytes(der[at : at + size], 'big'), at + size
        if at + length > len(der):
            raise ValueError(f'an element ends at byte {at + length} of {len(der)}')
        found.append((tag, der[at : at + length]))
        at += length
    return found


def _time(tag: int, content: bytes) -> datetime:
    text = content.decode('ascii')
    if tag == _UTC_TIME:
        text = ('19' if text >= '50' else '20') + text
    return datetime.strptime(text, '%Y%m%d%H%M%SZ').replace(tzinfo=timezone.utc)
