# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The payload's wire format: what is packed is unpacked, and everything else is refused."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.errors import PayloadError, ProtocolError
from mt_perception.offload.payload import (
    DEFAULT_LIMITS,
    DIFFERENCE,
    JPEG,
    SYMBOLS,
    Payload,
    PayloadLimits,
    difference_body,
    pack,
    unpack,
)

HEADER = 46
ONE = Payload(SYMBOLS, 2, bytes(range(16)), (128, 20, 26), 1_700_000_000_123, 'camera', b'abcd')
SIDES = st.integers(1, 100)
PAYLOADS = st.builds(
    Payload,
    kind=st.sampled_from((SYMBOLS, JPEG)),
    rate=st.integers(0, 255),
    digest=st.binary(min_size=16, max_size=16),
    shape=st.tuples(SIDES, SIDES, SIDES),
    stamp_ns=st.integers(-(1 << 63), (1 << 63) - 1),
    frame_id=st.text(max_size=63),
    body=st.binary(max_size=300),
)


def sealed(data: bytearray) -> bytes:
    """The same bytes with the checksum that they should have."""
    crc = zlib.crc32(data[46:], zlib.crc32(data[:42]))
    return bytes(data[:42] + struct.pack('<I', crc) + data[46:])


def reason(data: bytes, limits: PayloadLimits = DEFAULT_LIMITS) -> str:
    with pytest.raises(PayloadError) as refused:
        unpack(data, limits)
    assert isinstance(refused.value, ProtocolError)
    return refused.value.reason


@given(PAYLOADS)
def test_what_is_packed_is_unpacked(payload: Payload) -> None:
    data = pack(payload)
    assert unpack(data) == payload
    assert len(data) == HEADER + len(payload.frame_id.encode()) + len(payload.body)
    assert sealed(bytearray(data)) == data


@given(PAYLOADS, st.data())
def test_one_wrong_bit_is_noticed(payload: Payload, data: st.DataObject) -> None:
    packed = bytearray(pack(payload))
    bit = data.draw(st.integers(0, 8 * len(packed) - 1))
    packed[bit // 8] ^= 1 << bit % 8
    reason(bytes(packed))


@given(PAYLOADS, st.data())
def test_truncated_or_longer_is_noticed(payload: Payload, data: st.DataObject) -> None:
    packed = pack(payload)
    assert reason(packed[: data.draw(st.integers(0, len(packed) - 1))]) in ('truncated', 'foreign')
    assert reason(packed + data.draw(st.binary(min_size=1, max_size=9))) == 'corrupted'


@given(st.binary(max_size=300))
def test_any_bytes_are_a_payload_or_refused(data: bytes) -> None:
    for candidate in (data, b'MTPL' + data, b'MTPL\x01' + data):
        reason(candidate)


@given(st.binary(min_size=42, max_size=120))
def test_any_sealed_bytes_are_a_payload_or_refused(data: bytes) -> None:
    """Also what an attacker writes, who can compute a checksum."""
    header = bytearray(b'MTPL\x01' + data)
    header[38:42] = struct.pack('<I', max(0, len(header) - HEADER - header[7]))
    try:
        payload = unpack(sealed(header))
    except PayloadError:
        return
    assert payload.kind in (SYMBOLS, JPEG, DIFFERENCE)
    assert 0 < payload.shape[0] * payload.shape[1] * payload.shape[2] <= 1 << 21


@pytest.mark.parametrize(
    ('at', 'value', 'expected'),
    [
        (0, b'GIF8', 'foreign'),
        (4, b'\x03', 'version'),
        (5, b'\x03', 'kind'),
        (24, b'\0\0', 'shape'),
        (24, b'\xff\xff\xff\xff\xff\xff', 'shape'),
        (38, b'\xff\xff\xff\xff', 'truncated'),
        (38, b'\0\0\0\0', 'corrupted'),
    ],
)
def test_headers_that_lie_are_refused(at: int, value: bytes, expected: str) -> None:
    data = bytearray(pack(ONE))
    data[at : at + len(value)] = value
    assert reason(sealed(data)) == expected


def test_what_is_too_large_is_refused_before_anything_else() -> None:
    assert reason(b'x' * 101, PayloadLimits(max_bytes=100)) == 'oversized'
    assert reason(pack(ONE), PayloadLimits(max_elements=128 * 20 * 26 - 1)) == 'shape'
    assert unpack(pack(ONE), PayloadLimits(max_elements=128 * 20 * 26)) == ONE


@pytest.mark.parametrize(
    'change',
    [
        {'frame_id': 'ä' * 128},
        {'digest': b'short'},
        {'stamp_ns': 1 << 63},
        {'rate': 256},
        {'shape': (70_000, 1, 1)},
    ],
)
def test_what_does_not_fit_is_not_packed(change: dict[str, object]) -> None:
    with pytest.raises(PayloadError):
        pack(replace(ONE, **change))


def test_a_frame_id_that_is_no_text_stays_harmless() -> None:
    data = bytearray(pack(ONE))
    data[46:52] = b'\xff\xfe\x00abc'
    assert '\ufffd' in unpack(sealed(data)).frame_id
    assert unpack(pack(replace(ONE, frame_id='\ud800'))).frame_id


def outcome(data: bytes) -> object:
    try:
        return unpack(data)
    except PayloadError as error:
        return error.reason


def test_the_bytes_of_a_payload_are_those_of_every_release() -> None:
    """Robots and hosts of different releases speak with each other."""
    key = replace(ONE, shape=(3, 8, 8))
    difference = replace(key, kind=DIFFERENCE, body=difference_body(key.checksum, b'code'))
    for payload in (ONE, difference, replace(key, kind=JPEG, frame_id='', body=b'')):
        assert unpack(pack(payload)) == payload
    assert pack(ONE)[:8] == b'MTPL\x01\0\x02\x06'
    assert zlib.crc32(pack(difference)) == 2104990659
    assert difference.referenced(key) is key
    found = []
    for at in range(len(pack(difference))):
        for value in (0, 1, 2, 3, 8, 255):
            data = bytearray(pack(difference))
            data[at] = value
            found += [outcome(bytes(data)), outcome(sealed(data)), outcome(bytes(data[:at]))]
    assert zlib.crc32(repr(found).encode()) == 3081373249


@pytest.mark.parametrize(
    ('change', 'says'),
    [
        ({'kind': DIFFERENCE, 'body': b'12345'}, 'is not stored'),
        ({'kind': JPEG}, 'is not stored'),
        ({'body': b'other'}, 'is not stored'),
        ({'rate': 1}, 'another rate or size'),
        ({'shape': (128, 26, 20)}, 'another rate or size'),
        ({'digest': bytes(16)}, 'another rate or size'),
    ],
)
def test_a_difference_refers_to_its_key_frame_only(change: dict[str, object], says: str) -> None:
    difference = replace(ONE, kind=DIFFERENCE, body=difference_body(ONE.checksum, b'code'))
    for found in (replace(ONE, **change), None):
        with pytest.raises(PayloadError, match=says if found else 'is not stored') as refused:
            difference.referenced(found)
        assert refused.value.reason == 'reference'
