# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The compact form of responses: what hosts write is read, all else refused, old pairs work."""

from __future__ import annotations

import contextlib
import struct
import zlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip('tritonclient.grpc', reason='needs the extra "offload"')
pytest.importorskip('constriction', reason='needs the extra "offload"')
from tritonclient.grpc import service_pb2 as pb

from mt_perception.errors import ProtocolError
from mt_perception.offload.compact_response import CompactResponse, pack_response, unpack_response
from mt_perception.offload.depth_codec import MAX_CELLS
from mt_perception.offload.label_codec import decode_labels, encode_labels
from mt_perception.offload.protocol import (
    COMPACT,
    InferenceRequest,
    InferenceResponse,
    parse_request,
    parse_response,
    serialize_request,
    serialize_response,
)

DEPTH = 'depth/depth_per_focal'
LABELS = 'segmentation/class_ids'


def blobs(h: int, w: int, labels: int, seed: int) -> np.ndarray:
    """A label map (h, w) of coloured discs."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:h, 0:w]
    found = np.zeros((h, w), np.uint8)
    for label in range(1, labels):
        v, u, r = random.uniform((0, 0, 1), (h, w, max(2, min(h, w) / 3)))
        found[(y - v) ** 2 + (x - u) ** 2 < r * r] = label
    return found


def smooth(h: int = 80, w: int = 104) -> np.ndarray:
    y, x = np.mgrid[0:h, 0:w] / 100
    return np.float32(0.1 + 0.5 * y + 0.3 * x)[None]


TENSORS: dict[str, np.ndarray] = {
    'detection/boxes': np.float32([[[1.5, 2.25, 300.7, 200.1], [0, 0, 415.9, 319.9]]]),
    'detection/scores': np.float32([[0.91, 0.35]]),
    'detection/class_ids': np.array([[56, 300]], np.int64),
    LABELS: blobs(160, 208, 5, 1)[None],
    DEPTH: smooth(),
}
REQUEST = InferenceRequest(
    'tiny', '1', 'x', b'p', tuple(sorted(TENSORS)), 0.35, 0.03, compact=True, complete=True
)
REPLY = InferenceResponse(TENSORS, {'queue_ms': 1.5, 'compute_ms': 30.25}, kept=True)


def message() -> bytes:
    return serialize_response(REQUEST, REPLY, [DEPTH])


@given(
    st.integers(1, 70), st.integers(1, 70), st.integers(1, 256), st.integers(0, 99), st.booleans()
)
def test_label_maps_come_back(h: int, w: int, labels: int, seed: int, noise: bool) -> None:
    found = blobs(h, w, min(labels, 20), seed)
    if noise:
        found = np.random.default_rng(seed).integers(0, labels, (h, w)).astype(np.uint8)
    np.testing.assert_array_equal(decode_labels(encode_labels(found), (h, w)), found)


def test_label_maps_are_small() -> None:
    assert len(encode_labels(blobs(160, 208, 5, 1))) < 350
    assert len(encode_labels(np.full((160, 208), 255, np.uint8))) < 20


def test_equal_label_maps_are_equal_bytes_on_every_machine() -> None:
    """These bytes were written down once; floats in the tables would make others of them."""
    assert (
        encode_labels(blobs(19, 23, 4, 2)).hex()
        == '03000102032e4d6c1b333998cdb5d7224ce4a33c0ab41f0100'
    )


@given(st.binary(max_size=300), st.integers(1, 40), st.integers(1, 40))
def test_what_is_no_code_is_refused_or_a_label_map(data: bytes, h: int, w: int) -> None:
    with contextlib.suppress(ProtocolError):
        assert decode_labels(data, (h, w)).shape == (h, w)


def test_a_changed_code_is_refused_or_a_map_of_the_same_labels() -> None:
    whole = encode_labels(blobs(40, 50, 5, 3))
    refused = 0
    for at in range(6, len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x55
        try:
            assert set(np.unique(decode_labels(bytes(damaged), (40, 50)))) <= set(range(5))
        except ProtocolError:
            refused += 1
    assert refused > 0


def test_a_compact_response_says_what_a_plain_one_says() -> None:
    plain = replace(REQUEST, compact=False)
    expected = parse_response(serialize_response(plain, REPLY, [DEPTH]), plain)
    found = parse_response(message(), REQUEST)
    assert found.compact
    assert found.kept
    assert found.server_ms == {'queue_ms': 1.5, 'compute_ms': 30.25}
    assert set(found.tensors) == set(TENSORS)
    for name, value in expected.tensors.items():
        assert found.tensors[name].dtype == value.dtype
        assert found.tensors[name].shape == value.shape
        np.testing.assert_allclose(found.tensors[name], TENSORS[name], rtol=0.03)
    np.testing.assert_allclose(found.tensors[DEPTH], expected.tensors[DEPTH], rtol=1e-5)
    for name in ('detection/boxes', 'detection/scores'):
        np.testing.assert_allclose(found.tensors[name], TENSORS[name], rtol=3e-4)
    np.testing.assert_array_equal(found.tensors[LABELS], TENSORS[LABELS])
    np.testing.assert_array_equal(
        found.tensors['detection/class_ids'], TENSORS['detection/class_ids']
    )


def test_it_is_small_and_its_request_too() -> None:
    plain = replace(REQUEST, compact=False, complete=False)
    before = len(zlib.compress(serialize_response(plain, REPLY, [DEPTH]), 6))
    assert len(message()) < 0.7 * before
    assert len(serialize_request(REQUEST)) < len(serialize_request(plain)) - 80


def test_hosts_read_what_robots_request() -> None:
    for compact in (False, True):
        for complete in (False, True):
            request = replace(REQUEST, compact=compact, complete=complete)
            found = parse_request(serialize_request(request))
            assert found.compact is compact
            assert found.tensors == (() if complete else REQUEST.tensors)


def test_plain_responses_say_that_the_host_has_the_compact_form() -> None:
    plain = replace(REQUEST, compact=False)
    parsed = pb.ModelInferResponse.FromString(serialize_response(plain, REPLY, [DEPTH]))
    assert parse_response(parsed.SerializeToString(), plain).compact
    # A host before it, and one with a later version of it.
    parsed.parameters[COMPACT].double_param = 2
    assert not parse_response(parsed.SerializeToString(), plain).compact
    del parsed.parameters[COMPACT]
    assert not parse_response(parsed.SerializeToString(), plain).compact


@pytest.mark.parametrize(
    'tensors',
    [
        {**TENSORS, 'detection/class_ids': np.array([[-1, 3]], np.int64)},
        {**TENSORS, 'detection/boxes': np.zeros((1, 70_000, 4), np.float32)},
        {**TENSORS, 'detection/scores': np.zeros((1, 2), np.float64)},
    ],
)
def test_tensors_without_a_compact_form_are_sent_plain(tensors: dict[str, np.ndarray]) -> None:
    if any(value.dtype == np.float64 for value in tensors.values()):
        with pytest.raises(ProtocolError, match='float64'):
            serialize_response(REQUEST, InferenceResponse(tensors), [DEPTH])
        return
    found = parse_response(serialize_response(REQUEST, InferenceResponse(tensors)), REQUEST)
    for name, value in tensors.items():
        np.testing.assert_allclose(found.tensors[name], value, rtol=0.03)


def test_exact_values_are_sent_plain() -> None:
    exact = replace(REQUEST, precision=0.0)
    found = parse_response(serialize_response(exact, REPLY, [DEPTH]), exact)
    for name, value in TENSORS.items():
        np.testing.assert_array_equal(found.tensors[name], value)


def block() -> bytearray:
    packed = pack_response(CompactResponse(TENSORS, (1.5, 30.25), True), [DEPTH], 0.03, 3e-4)
    assert packed is not None
    return bytearray(packed)


def at(name: str) -> int:
    """Offset of a tensor in the block."""
    before = {n: value for n, value in TENSORS.items() if n < name}
    packed = pack_response(CompactResponse(before, (1.5, 30.25), True), [DEPTH], 0.03, 3e-4)
    assert packed is not None
    return len(packed)


def edited(offset: int, content: bytes) -> bytes:
    data = block()
    data[offset : offset + len(content)] = content
    return bytes(data)


nan = struct.pack('<f', float('nan'))
REFUSED = {
    'empty': (b'', 'truncated'),
    'another version': (edited(0, b'\x02'), 'version 2'),
    'unknown flags': (edited(1, b'\x07'), 'flags 7'),
    'times that are no numbers': (edited(2, nan), 'must be 0 or more'),
    'truncated': (bytes(block()[:-1]), 'truncated'),
    'too long': (bytes(block()) + b'x', '1 bytes too many'),
    'unknown form': (edited(at(DEPTH), b'\x09'), 'form 9'),
    'too many dimensions': (edited(at(DEPTH) + 1, b'\xff'), '255 dimensions'),
    'a map without cells': (edited(at(DEPTH) + 4, bytes(2)), r'compact map \(1, 0, 104\)'),
    'a map that is too large': (edited(at(LABELS) + 4, b'\xff' * 4), f'1 to {MAX_CELLS}'),
    'a code that ends behind it': (edited(at(LABELS) + 8, b'\xff' * 4), 'truncated'),
    'a step out of range': (edited(at(DEPTH) + 8, struct.pack('<f', 7)), 'compressed map'),
    'wide floats': (edited(at('detection/boxes') + 8, b'\x05'), '5 bytes; expected 1 to 4'),
    'huge floats': (edited(at('detection/boxes') + 2, b'\xff' * 6), 'truncated'),
    'no datatype': (edited(at('detection/class_ids') + 6, b'\x04'), 'datatype 4'),
}


@pytest.mark.parametrize('fault', REFUSED)
def test_a_block_is_refused_by_name(fault: str) -> None:
    data, sentence = REFUSED[fault]
    with pytest.raises(ProtocolError, match=sentence):
        unpack_response(data, TENSORS)


def test_values_that_are_not_finite_are_refused() -> None:
    parsed = pb.ModelInferResponse.FromString(message())
    parsed.raw_output_contents[0] = edited(at('detection/scores') + 7, b'\x7f\x80\x00')
    with pytest.raises(ProtocolError, match="'detection/scores' has values that are not finite"):
        parse_response(parsed.SerializeToString(), REQUEST)


@pytest.mark.parametrize('change', [{'request_id': 'y'}, {'model': 'big'}, {'compact': False}])
def test_a_compact_response_to_something_else_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        parse_response(message(), replace(REQUEST, **change))


@given(st.data())
def test_damaged_blocks_raise_nothing_else(data: st.DataObject) -> None:
    damaged = block()
    for _ in range(data.draw(st.integers(1, 4))):
        begin = data.draw(st.integers(0, len(damaged)))
        damaged[begin : begin + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    with contextlib.suppress(ProtocolError):
        unpack_response(bytes(damaged), TENSORS)
