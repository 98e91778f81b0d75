# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Robots and hosts of different releases speak with each other: their bytes stay the same.

The checksums were written down once. A change of the bytes needs a new version of the format.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tiny_cut import tiny_tables

pytest.importorskip('tritonclient.grpc', reason='needs the extra "offload"')
pytest.importorskip('constriction', reason='needs the extra "offload"')

from mt_perception.errors import PayloadError, ProtocolError
from mt_perception.offload.codec import CodecTables, LatentCodec, context_sums, differences
from mt_perception.offload.codec_tables import read_tables, write_tables
from mt_perception.offload.compact_response import CompactResponse, pack_response, unpack_response
from mt_perception.offload.depth_codec import decode_depth, encode_depth
from mt_perception.offload.float_rounding import mantissa_bits, rounded
from mt_perception.offload.label_codec import decode_labels, encode_labels
from mt_perception.offload.message_limits import check_message
from mt_perception.offload.protocol import (
    InferenceRequest,
    InferenceResponse,
    parse_request,
    parse_response,
    serialize_request,
    serialize_response,
)


def patches(h: int, w: int, labels: int, noise: float) -> np.ndarray:
    """Labels (h, w) in rectangles of several sizes, some cells replaced by others."""
    random = np.random.default_rng(h * w)
    found = np.zeros((h, w), np.uint8)
    for label in range(labels):
        y, x = random.integers(0, h), random.integers(0, w)
        found[y : y + random.integers(1, h + 1), x : x + random.integers(1, w + 1)] = 3 * label
    where = random.random((h, w)) < noise
    found[where] = 3 * random.integers(0, labels, int(where.sum()))
    return found


def steps_of(h: int, w: int, scale: float) -> np.ndarray:
    """A depth map (1, h, w) whose neighbours differ by multiples of 0.02 in the logarithm."""
    random = np.random.default_rng(h + w)
    walk = np.rint(random.laplace(0, scale, (h, w))).cumsum(axis=1) % 400
    found = np.exp(walk * 0.02 - 4).astype(np.float32)
    found[random.random((h, w)) < 0.02] = 0
    return found[None]


def crc_of(parts: list[bytes]) -> int:
    return zlib.crc32(b''.join(parts))


def test_the_bytes_of_label_maps() -> None:
    maps = [
        patches(h, w, labels, noise)
        for h, w, labels, noise in (
            (1, 1, 1, 0.0), (1, 9, 3, 0.5), (2, 3, 2, 0.5), (37, 70, 3, 0.0), (40, 33, 5, 0.02),
            (64, 65, 17, 0.1), (33, 48, 85, 0.6), (16, 32, 2, 0.01),
        )
    ]  # fmt: skip
    codes = [encode_labels(labels) for labels in maps]
    assert [len(code) for code in codes] == [6, 7, 11, 36, 110, 1006, 2222, 15]
    assert crc_of(codes) == 1501038352
    for labels, code in zip(maps, codes, strict=True):
        np.testing.assert_array_equal(decode_labels(code, labels.shape), labels)


def test_damaged_label_maps_are_refused_or_read_as_ever() -> None:
    whole = encode_labels(patches(21, 34, 5, 0.05))
    found = []
    for at in range(0, len(whole), 5):
        for value in (0, 5, 255):
            data = whole[:at] + bytes([value]) + whole[at + 1 :]
            try:
                found.append(decode_labels(data, (21, 34)).tobytes())
            except ProtocolError as error:
                found.append(str(error).encode())
    assert len(set(found)) == 10
    assert crc_of(found) == 2961619900


def test_the_bytes_of_depth_maps() -> None:
    """From smooth to rough, so that each of the tables is the best one for a map."""
    maps = [steps_of(19, 42, 0.05 * 1.5**i) for i in range(20)] + [
        steps_of(19, 42, 0.14), steps_of(19, 42, 0.155),
        steps_of(1, 1, 1), steps_of(1, 17, 2), steps_of(9, 2, 3), np.zeros((1, 3, 4), np.float32)
    ]  # fmt: skip
    coded = [encode_depth(value, 0.01) for value in maps]
    digits = {each.numbers['tables'] // 20**i % 20 for each in coded for i in range(4)}
    assert digits == set(range(20))
    assert crc_of([each.data.tobytes() for each in coded]) == 2832486460
    assert zlib.crc32(repr([each.numbers['tables'] for each in coded]).encode()) == 177184088
    for value, each in zip(maps, coded, strict=True):
        np.testing.assert_allclose(decode_depth(each), value, rtol=0.0101)
        assert each.numbers['depth_step'] == pytest.approx(2 * np.log(1.01), rel=1e-12)
        assert each.numbers['depth_base'] == value[value > 0].min(initial=np.inf) or 1.0


def test_the_bytes_of_features() -> None:
    tables = replace(tiny_tables(), differenced=(2, 0))
    codec = LatentCodec(tables)
    random = np.random.default_rng(7)
    symbols = np.rint(random.laplace(0, (4, 9, 40), (5, 7, 3))).astype(np.int16).transpose(2, 0, 1)
    key = symbols.copy()
    key[:, 1::2, ::3] += 2
    codes = [codec.encode(symbols, rate) for rate in range(3)]
    codes += [codec.encode(symbols, rate, key) for rate in range(3)]
    assert crc_of(codes) == 3307221048
    for i, code in enumerate(codes):
        reference = key if i > 2 else None
        np.testing.assert_array_equal(codec.decode(code, i % 3, (3, 5, 7), reference), symbols)
    for rate, shape in ((-1, (3, 5, 7)), (3, (3, 5, 7)), (0, (2, 5, 7)), (0, (3, 0, 7))):
        with pytest.raises(PayloadError, match='expected 3 channels at one of 3 rates') as refused:
            codec.decode(codes[0], rate, shape)
        assert refused.value.reason == 'shape'


def test_neighbours_count_once_in_a_context_and_the_cell_four_times() -> None:
    values = np.random.default_rng(0).integers(-40, 40, (2, 4, 6)).astype(np.int32)
    sizes = np.pad(np.minimum(abs(values), 15).sum(axis=0), 1)
    expected = [
        [sizes[y : y + 3, x : x + 3].sum() + 3 * sizes[y + 1, x + 1] for x in range(6)]
        for y in range(4)
    ]
    np.testing.assert_array_equal(context_sums(values), expected)
    found = differences(values.astype(np.int16), [1])
    for y in range(4):
        for x in range(6):
            before = values[1, y, x - 1] if x else values[1, y - 1, x] if y else 0
            assert found[1, y, x] == values[1, y, x] - before
    np.testing.assert_array_equal(found[0], values[0])


@pytest.mark.parametrize(
    ('value', 'symbol'),
    [
        (np.nan, 0), (np.inf, 32767), (-np.inf, -32768), (40000, 32767), (-40000, -32768),
        (32767, 32767), (-32768, -32768), (2.5, 2), (-3.5, -4), (0.51, 1),
    ],
)  # fmt: skip
def test_each_float_is_quantised_alone(value: float, symbol: int) -> None:
    latent = np.full((3, 1, 2), 7, np.float32)
    latent[1, 0, 1] = value
    found = LatentCodec(tiny_tables()).quantise(latent, 2)
    assert found.tolist() == [[[7, 7]], [[7, symbol]], [[7, 7]]]


def test_the_bytes_of_the_tables() -> None:
    content = write_tables(tiny_tables())
    assert zlib.crc32(content) == 3240602624
    found = read_tables(content)
    assert isinstance(found, CodecTables)
    assert found.rates[1].tables.dtype == np.uint8
    assert found.rates[1].gain.dtype == np.float32


def test_the_bytes_of_compact_responses() -> None:
    tensors = {
        'b/boxes': np.linspace(-3, 400, 24, dtype=np.float32).reshape(1, 6, 4),
        'c/ids': np.array([[0, 255, 70_000]], np.int64),
        'd/small': np.array([0, 256], np.uint16),
        'e/large': np.array([[1 << 24]], np.int32),
        'f/bytes': np.arange(5, dtype=np.uint8),
        'g/empty': np.zeros((1, 0, 4), np.float32),
        'h/map': steps_of(9, 13, 1),
        'a/labels': patches(9, 13, 3, 0.1)[None],
        'i/deep': np.ones((1,) * 8, np.float32),
        'j/side': np.zeros(65_535, np.uint8),
        'k/two maps': np.ones((2, 3, 3), np.uint8),
        'l/no map': np.ones((2, 3, 3), np.float32),
        'm/map of another kind': steps_of(4, 3, 1),
    }
    maps = ['h/map', 'e/large', 'g/empty', 'l/no map']
    blocks = []
    for error in (0.3, 3e-3, 1e-6):
        for times, kept in (((), False), ((1.5, 0.25), True)):
            response = CompactResponse(tensors, times, kept)
            block = pack_response(response, maps, 0.01, error)
            assert block is not None
            found = unpack_response(block, tensors)
            assert (found.times_ms, found.kept) == (times, kept)
            for name, value in tensors.items():
                assert found.tensors[name].dtype == value.dtype
                tolerance = 0.0101 if name == 'h/map' else error * (value.dtype == np.float32)
                np.testing.assert_allclose(found.tensors[name], value, rtol=tolerance)
            blocks.append(block)
    assert [len(block) for block in blocks] == [65998, 66006, 66053, 66061, 66108, 66116]
    assert crc_of(blocks) == 3531792887
    for wrong in (
        np.ones((1,) * 9, np.float32), np.zeros(65_536, np.uint8), np.array([-1]),
        np.zeros(2, np.float64), np.zeros(2, np.int16),
    ):  # fmt: skip
        assert pack_response(CompactResponse({'x': wrong}), [], 0.01, 0.01) is None


def test_damaged_compact_responses_are_refused_or_read_as_ever() -> None:
    tensors = {
        'boxes': np.linspace(-3, 400, 8, dtype=np.float32).reshape(1, 2, 4),
        'ids': np.array([[0, 255, 70_000]], np.int64),
        'labels': patches(5, 6, 3, 0.1)[None],
    }
    whole = pack_response(CompactResponse(tensors, (1.5, 0.25), True), [], 0.01, 3e-3)
    assert whole is not None
    found = []
    for at in (*range(24), *range(24, len(whole), 4)):
        for value in (0, 2, 3, 4, 5, 9, 255):
            for data in (whole[:at] + bytes([value]) + whole[at + 1 :], whole[:at]):
                try:
                    read = unpack_response(data, tensors)
                    text = repr((read.times_ms, read.kept))
                    found.append(text.encode())
                    found += [read.tensors[name].tobytes() for name in tensors]
                except ProtocolError as error:
                    found.append(str(error).encode())
    assert crc_of(found) == 3976200652


def test_floats_keep_the_bits_that_an_error_needs() -> None:
    assert [mantissa_bits(e) for e in (1, 0.5, 0.3, 0.25, 0.1, 2**-8, 2**-23, 2**-25)] == [
        0, 0, 1, 1, 3, 7, 22, 24,
    ]  # fmt: skip
    values = np.array([1, 1.25, 1.5, 1.75, -2.2, 3.4028235e38], np.float32)
    assert rounded(values, 0.3).tolist()[:5] == [1, 1.5, 1.5, 2, -2]
    assert rounded(values, 0.5).tolist()[:5] == [1, 1, 2, 2, -2]
    assert rounded(values, 0.5)[5] == 2.0**127
    np.testing.assert_array_equal(rounded(values, 2**-25), values)


def outcome(read: Callable[[bytes], object], message: bytes) -> bytes:
    try:
        return repr(read(message)).encode()
    except ProtocolError as error:
        return str(error).encode()


def test_the_bytes_of_messages() -> None:
    request = InferenceRequest('tiny', '1', 'frame 7', b'payload', ('a', 'b'), 0.5, 0.25)
    tensors = {'a': np.float32([[1, 2]]), 'b': np.uint16([3])}
    exact = replace(request, precision=0.0)
    reply = InferenceResponse(tensors, {'queue_ms': 1.5, 'compute_ms': 2.0}, kept=True)
    written = [
        serialize_request(request),
        serialize_request(replace(request, compact=True)),
        serialize_request(replace(request, compact=True, complete=True)),
        serialize_response(exact, reply),
        serialize_response(request, reply),
        serialize_response(replace(request, compact=True), reply),
    ]
    assert [len(message) for message in written] == [107, 118, 108, 145, 145, 72]
    assert crc_of([bytes(sorted(message)) for message in written]) == 2977036365
    # Parameters have no order.
    plain = serialize_request(replace(request, min_score=0.0, precision=0.0))
    fixed = b'\x32\x02ab\x08\x96\x01\x0d' + bytes(4) + b'\x09' + bytes(8)
    found = []
    for field, message in ((7, plain), (6, fixed)):
        for at in range(len(message)):
            for value in (0, 3, 5, 8, 9, 13, 42, 50, 58, 127, 128, 255):
                data = message[:at] + bytes([value]) + message[at + 1 :]
                found.append(outcome(lambda m, f=field: check_message(m, f, 1 << 20), data))
    assert crc_of(found) == 1447026473


def padded(length: int) -> bytes:
    """A field 1 of ``length`` bytes in all, at least 131 and below 16,387."""
    rest = length - 3
    return b'\x0a' + bytes((rest & 127 | 128, rest >> 7)) + b'x' * rest


def test_limits_of_messages_are_exact() -> None:
    check_message(padded(16_384), 7, 16_384)
    check_message(b'\x3a\x00' * 64, 7, 128)
    check_message(b'\x08\x01' + b'\x0d' + bytes(4) + b'\x09' + bytes(8), 7, 16)
    for message, says in (
        (padded(16_385), 'more than 64 raw tensors or 16384 other bytes'),
        (b'\x3a\x00' * 65, 'more than 64 raw tensors or 16384 other bytes'),
        (b'\x08\x01\x0d' + bytes(3), 'a field at byte 2 ends at 7, the message at 6: truncated'),
        (b'\x08\x01\x09' + bytes(7), 'a field at byte 2 ends at 11, the message at 10: truncated'),
        (b'\x08\x01\x0c', 'a field of wire type 4 at byte 2'),
        (b'\x08' + b'\xff' * 9 + b'\x80', 'a varint at byte 1 of the message does not end'),
    ):
        with pytest.raises(ProtocolError, match=says):
            check_message(message, 7, 1 << 20)
    with pytest.raises(ProtocolError, match='has 11 bytes; the limit is 10'):
        check_message(bytes(11), 7, 10)
    with pytest.raises(ProtocolError, match='has 1114113 bytes; the limit is 1114112'):
        parse_request(bytes(1_114_113))
    request = InferenceRequest('m', '', 'x', b'')
    with pytest.raises(ProtocolError, match='has 67108865 bytes; the limit is 67108864'):
        parse_response(bytes((64 << 20) + 1), request)
