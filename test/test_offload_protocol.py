# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of the Open Inference Protocol: what we write is read, everything else is refused."""

from __future__ import annotations

import contextlib
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

pytest.importorskip('tritonclient.grpc', reason='needs the extra "offload"')
from tritonclient.grpc import service_pb2 as pb

from mt_perception.errors import ProtocolError
from mt_perception.offload.depth_codec import (
    MAX_CELLS,
    MAX_DEPTH_PER_FOCAL,
    PARAMETERS,
    EncodedDepth,
    decode_depth,
    encode_depth,
)
from mt_perception.offload.message_limits import MAX_REQUEST_BYTES, check_message
from mt_perception.offload.protocol import (
    PAYLOAD,
    InferenceRequest,
    InferenceResponse,
    parse_request,
    parse_response,
    serialize_request,
    serialize_response,
)

REQUEST = InferenceRequest('tiny', '1', 'frame 7', b'payload', ('depth/map', 'detection/boxes'))
TENSORS = {
    'depth/map': np.linspace(0.001, 0.05, 12, dtype=np.float32).reshape(1, 3, 4),
    'detection/boxes': np.arange(8, dtype=np.float32).reshape(1, 2, 4),
}
names = st.text(st.characters(codec='utf-8', exclude_categories=['C', 'Z']), max_size=100)


@given(
    names, names, names, st.binary(max_size=500), st.lists(names, unique=True, max_size=5),
    st.floats(0, 1), st.floats(0, 1),
)  # fmt: skip
def test_requests_come_back(
    model: str,
    version: str,
    request_id: str,
    payload: bytes,
    tensors: list[str],
    min_score: float,
    precision: float,
) -> None:
    request = InferenceRequest(
        model, version, request_id, payload, tuple(tensors), min_score, precision
    )
    assert parse_request(serialize_request(request)) == request


def test_replies_come_back_bit_by_bit() -> None:
    tensors = {
        **TENSORS,
        'segmentation/ids': np.arange(6, dtype=np.uint8).reshape(1, 2, 3),
        'detection/ids': np.array([[2**40, -1]], np.int64),
        'empty': np.zeros((1, 0, 4), np.float32),
    }
    request = InferenceRequest('tiny', '1', 'x', b'', tuple(tensors))
    reply = parse_response(
        serialize_response(request, InferenceResponse(tensors, {'queue_ms': 1.5})), request
    )
    assert reply.server_ms == {'queue_ms': 1.5}
    for name, value in tensors.items():
        assert reply.tensors[name].dtype == value.dtype
        np.testing.assert_array_equal(reply.tensors[name], value)


@given(st.integers(1, 20), st.integers(1, 20), st.floats(1e-4, 1), st.integers(0, 99))
@example(3, 4, 1.0, 0)
def test_packed_maps_are_as_precise_as_asked(h: int, w: int, precision: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    value = np.exp(random.uniform(-8, 2, (1, h, w))).astype(np.float32)
    value[random.random(value.shape) < 0.1] = 0
    found = decode_depth(encode_depth(value, precision))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, value, rtol=precision * 1.001)


def test_packed_maps_reach_from_the_nearest_to_the_farthest() -> None:
    value = np.array([[[1e-30, 0, -3, 9e5]]], np.float32)
    found = decode_depth(encode_depth(value, 1e-6))
    np.testing.assert_allclose(found[0, 0, [0, 3]], value[0, 0, [0, 3]], rtol=2e-3)
    assert not found[0, 0, 1:3].any()
    nothing = np.zeros((1, 2, 2), np.float32)
    np.testing.assert_array_equal(decode_depth(encode_depth(nothing, 1e-3)), nothing)


@pytest.mark.parametrize('unusable', [np.inf, -np.inf, np.nan, 3e38, MAX_DEPTH_PER_FOCAL])
@pytest.mark.parametrize('precision', [0.002, 0.03, 1.0])
def test_depth_that_robots_refuse_becomes_unknown(unusable: float, precision: float) -> None:
    value = np.full((1, 4, 4), 0.5, np.float32)
    value[0, 1, 2] = unusable
    coded = encode_depth(value, precision)
    found = decode_depth(coded)
    assert found[0, 1, 2] == 0
    assert (found > 0).sum() == 15
    assert 'np.' not in str(dict(coded.numbers))


def test_rounding_keeps_the_largest_numbers_finite() -> None:
    value = np.array([[3.4028235e38, -3.4028235e38, 1.999]], np.float32)
    request = InferenceRequest('tiny', '1', 'x', b'', ('boxes',), precision=0.5)
    message = serialize_response(request, InferenceResponse({'boxes': value}))
    found = parse_response(message, request).tensors['boxes']
    np.testing.assert_allclose(found, value, rtol=0.01)


@pytest.mark.parametrize('shape', [(1, 1025, 1024), (1, 0, 4)])
def test_maps_of_sizes_that_no_robot_decompresses_are_not_compressed(
    shape: tuple[int, ...],
) -> None:
    request = InferenceRequest('tiny', '1', 'x', b'', ('depth/map',), precision=0.01)
    reply = InferenceResponse({'depth/map': np.ones(shape, np.float32)})
    found = parse_response(serialize_response(request, reply, ['depth/map']), request)
    np.testing.assert_array_equal(found.tensors['depth/map'], reply.tensors['depth/map'])


def test_precision_packs_maps_only() -> None:
    request = InferenceRequest('tiny', '1', 'x', b'', tuple(TENSORS), precision=1e-3)
    message = serialize_response(request, InferenceResponse(TENSORS), ['depth/map'])
    sent = {tensor.name: tensor for tensor in pb.ModelInferResponse.FromString(message).outputs}
    assert set(sent['depth/map'].parameters) == set(PARAMETERS)
    assert not sent['detection/boxes'].parameters
    np.testing.assert_allclose(
        parse_response(message, request).tensors['detection/boxes'],
        TENSORS['detection/boxes'],
        rtol=1e-5,
    )


@given(arrays(np.float32, (1, 5, 4), elements=st.floats(-1e6, 1e6, width=32)), st.floats(1e-9, 2))
def test_numbers_err_by_a_hundredth_of_the_precision(value: np.ndarray, precision: float) -> None:
    request = InferenceRequest('tiny', '1', 'x', b'', ('boxes',), precision=precision)
    found = parse_response(
        serialize_response(request, InferenceResponse({'boxes': value})), request
    ).tensors['boxes']
    normal = np.abs(value) > np.finfo(np.float32).tiny
    np.testing.assert_allclose(found[normal], value[normal], rtol=precision / 100)
    assert np.abs(found[~normal]).max(initial=0) <= 2 * np.finfo(np.float32).tiny


def test_boxes_are_smaller_where_precision_is_coarse() -> None:
    boxes = np.random.default_rng(0).uniform(0, 416, (1, 30, 4)).astype(np.float32)
    requests = [InferenceRequest('tiny', '', 'x', b'', precision=p) for p in (0, 0.002, 0.02)]
    sizes = [
        len(zlib.compress(serialize_response(r, InferenceResponse({'boxes': boxes}))))
        for r in requests
    ]
    assert sizes[2] < sizes[1] < sizes[0]


def smooth_map(seed: int) -> np.ndarray:
    """Depth of a room: planes and a little noise, float32 (1, 80, 104)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:80, 0:104] / 100
    planes = [a + b * x + c * y for a, b, c in random.uniform(0.2, 1.0, (3, 3))]
    noise = np.exp(random.normal(0, 0.003, (80, 104)))
    return (np.minimum.reduce(planes) * noise).astype(np.float32)[None]


def test_packed_maps_are_small() -> None:
    for precision, most in ((0.002, 2600), (0.01, 450), (0.02, 200)):
        assert encode_depth(smooth_map(1), precision).data.size < most
    assert encode_depth(np.ones((1, 80, 104), np.float32), 0.01).data.size < 60


def test_the_tables_are_the_same_on_every_machine() -> None:
    """These bytes were written down once; floats in the tables would make others of them."""
    levels = np.cumsum(np.arange(-6, 7) % 5 - 2).reshape(1, 1, -1)
    data = encode_depth(np.exp(levels * 0.02).astype(np.float32), 0.005).data
    assert data.tobytes().hex() == '3bfb0e7774ae7126'


@pytest.mark.parametrize(
    'change',
    [
        {'depth_step': 0.0},
        {'depth_step': 2.0},
        {'depth_base': 0.0},
        {'tables': 160_000.0},
        {'tables': 0.5},
        {'height': 0.0},
        {'height': 80.5},
        {'width': float(MAX_CELLS)},
        {'height': 79.0},
    ],
)
def test_numbers_that_do_not_fit_a_packed_map_are_refused(change: dict[str, float]) -> None:
    whole = encode_depth(smooth_map(2), 0.01)
    with pytest.raises(ProtocolError, match='compressed map'):
        decode_depth(EncodedDepth(whole.data, {**whole.numbers, **change}))
    for name in change:
        fewer = {key: value for key, value in whole.numbers.items() if key != name}
        if name != 'tables':
            with pytest.raises(ProtocolError, match='compressed map'):
                decode_depth(EncodedDepth(whole.data, fewer))


@given(st.binary(max_size=200), st.integers(0, 159_999), st.integers(1, 30), st.integers(1, 30))
def test_what_is_no_code_is_refused_or_a_map(data: bytes, tables: int, h: int, w: int) -> None:
    numbers = dict(zip(PARAMETERS, (0.01, 0.1, float(tables), float(h), float(w)), strict=True))
    try:
        found = decode_depth(EncodedDepth(np.frombuffer(data, np.uint8)[None], numbers))
    except ProtocolError:
        return
    assert found.shape == (1, h, w)


def changed(edit: Callable[[Any], None]) -> bytes:
    message = pb.ModelInferRequest.FromString(serialize_request(REQUEST))
    edit(message)
    return message.SerializeToString()


REFUSED_REQUESTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    'no input': (lambda m: m.ClearField('inputs'), 'expected one input'),
    'two inputs': (lambda m: m.inputs.add(name='image'), 'found 2: payload, image'),
    'another input': (lambda m: setattr(m.inputs[0], 'name', 'image'), 'found 1: image'),
    'another type': (lambda m: setattr(m.inputs[0], 'datatype', 'FP32'), "is 'FP32'"),
    'shape of more': (lambda m: m.inputs[0].shape.__setitem__(1, 8), 'with 7 bytes'),
    'shape of less': (lambda m: m.inputs[0].shape.__setitem__(1, 6), 'with 7 bytes'),
    'negative shape': (lambda m: m.inputs[0].shape.__setitem__(0, -1), r'\[-1, 7\]'),
    'huge shape': (lambda m: m.inputs[0].shape.__setitem__(1, 2**62), 'with 7 bytes'),
    'deep shape': (lambda m: m.inputs[0].shape.extend([1] * 1000), 'with 7 bytes'),
    'two tensors': (lambda m: m.raw_input_contents.append(b''), 'raw_input_contents'),
    'no tensor': (lambda m: m.ClearField('raw_input_contents'), 'raw_input_contents'),
    'contents': (
        lambda m: m.inputs[0].contents.uint_contents.append(1),
        'raw_input_contents, without',
    ),
    'shared memory': (
        lambda m: (
            m.inputs[0]
            .parameters['shared_memory_region']
            .MergeFrom(pb.InferParameter(string_param='x'))
        ),
        'without parameters',
    ),
    'score above 1': (lambda m: setattr(m.parameters['min_score'], 'double_param', 1.5), '0 to 1'),
    'precision above 1': (
        lambda m: setattr(m.parameters['precision'], 'double_param', 1.01),
        'must be 0 to 1',
    ),
    'output twice': (lambda m: m.outputs.add(name='depth/map'), 'requested twice'),
    'output in shared memory': (
        lambda m: (
            m.outputs[0]
            .parameters['shared_memory_region']
            .MergeFrom(pb.InferParameter(string_param='x'))
        ),
        'not supported',
    ),
    'unknown parameter': (
        lambda m: setattr(m.parameters['sequence_id'], 'double_param', 1.0),
        "'sequence_id' is not supported",
    ),
    'parameter of another type': (
        lambda m: setattr(m.parameters['min_score'], 'string_param', '1'),
        "'min_score' must be a number",
    ),
    'parameter that is no number': (
        lambda m: setattr(m.parameters['precision'], 'double_param', float('nan')),
        "'precision' must be a number",
    ),
    'long name': (lambda m: setattr(m, 'model_name', 'x' * 200), 'model_name must have'),
    'line break': (lambda m: setattr(m, 'id', 'a\nb'), 'id must have'),
    'description without end': (
        lambda m: [m.outputs.add(name=f'{i}' * 8) for i in range(3000)],
        '16384 other bytes',
    ),
}


@pytest.mark.parametrize('fault', REFUSED_REQUESTS)
def test_a_request_is_refused_by_name(fault: str) -> None:
    edit, sentence = REFUSED_REQUESTS[fault]
    with pytest.raises(ProtocolError, match=sentence):
        parse_request(changed(edit))


@pytest.mark.parametrize(
    ('message', 'sentence'),
    [
        (b'\x3a' + b'\xff' * 9 + b'\x01', 'truncated'),
        (b'\x3a' + b'\xff' * 20, 'does not end'),
        (b'\x3a' + b'\xff' * 10 + b'\x01', 'does not end'),
        (b'\x3a\x80\x80\x80\x80\x04', 'truncated'),
        (b'\x2a\x05\x0a\xff\xff\xff\xff', 'Error parsing message'),
        (b'\x2a\x06\x0a\xff\xff\xff\xff\x0f', 'Error parsing message'),
        (b'\x0b\x0b\x0b', 'wire type 3'),
        (b'\x0a\x02\xff\xfe', 'Error parsing message'),
        (bytes(MAX_REQUEST_BYTES + 1), 'the limit is'),
        (b'\x3a\x00' * 100, 'more than 64 raw tensors'),
        (b'\x2a\x00' * 500_000, 'other bytes'),
    ],
)
def test_broken_messages_are_refused_before_they_take_memory(
    message: bytes, sentence: str
) -> None:
    with pytest.raises(ProtocolError):
        parse_request(message)  # Whatever an error loads when it is the first.
    tracemalloc.start()
    with pytest.raises(ProtocolError, match=sentence):
        parse_request(message)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


def changed_reply(edit: Callable[[Any], None]) -> bytes:
    message = pb.ModelInferResponse.FromString(
        serialize_response(REQUEST, InferenceResponse(TENSORS))
    )
    edit(message)
    return message.SerializeToString()


def step(message: Any, value: float) -> None:
    message.outputs[0].parameters[PARAMETERS[0]].double_param = value


REFUSED_REPLIES: dict[str, tuple[Callable[[Any], Any], str]] = {
    'another id': (
        lambda m: setattr(m, 'id', 'frame 6'),
        "for request 'frame 6'; expected 'frame 7'",
    ),
    'another model': (lambda m: setattr(m, 'model_name', 'big'), "of model 'big'"),
    'a tensor less': (lambda m: (m.outputs.pop(), m.raw_output_contents.pop()), 'expected'),
    'a tensor more': (
        lambda m: (m.outputs.add(name='x'), m.raw_output_contents.append(b'')),
        'expected',
    ),
    'a tensor twice': (lambda m: m.outputs[1].CopyFrom(m.outputs[0]), 'expected'),
    'no bytes': (lambda m: m.raw_output_contents.pop(), '1 raw tensors'),
    'another type': (lambda m: setattr(m.outputs[0], 'datatype', 'BYTES'), "'BYTES'"),
    'wider type': (lambda m: setattr(m.outputs[0], 'datatype', 'INT64'), 'must have 96 bytes'),
    'larger shape': (lambda m: m.outputs[0].shape.__setitem__(1, 4), 'must have 64 bytes'),
    'huge and empty': (
        lambda m: (
            m.outputs[0].shape.__setitem__(slice(None), [1 << 62, 0]),
            m.raw_output_contents.__setitem__(0, b''),
        ),
        'sizes of 0 to 16777216',
    ),
    'overflowing shape': (
        lambda m: m.outputs[0].shape.__setitem__(slice(None), [2**32, 2**32, 4]),
        'sizes of 0 to 16777216',
    ),
    'negative shape': (
        lambda m: m.outputs[0].shape.__setitem__(slice(None), [-3, -4, 1]),
        r'\(-3, -4, 1\)',
    ),
    'deep shape': (lambda m: m.outputs[0].shape.extend([1] * 9), 'at most 8 dimensions'),
    'not a number': (
        lambda m: m.raw_output_contents.__setitem__(0, np.full(12, np.nan, 'f4').tobytes()),
        "'depth/map' has values that are not finite",
    ),
    'packed floats': (lambda m: step(m, 0.1), 'compressed map must be UINT8'),
    'step out of range': (lambda m: step(m, 5.0), 'compressed map'),
    'step that is no number': (lambda m: step(m, float('nan')), 'must be a number'),
}


@pytest.mark.parametrize('fault', REFUSED_REPLIES)
def test_a_reply_is_refused_by_name(fault: str) -> None:
    edit, sentence = REFUSED_REPLIES[fault]
    with pytest.raises(ProtocolError, match=sentence):
        parse_response(changed_reply(edit), REQUEST)


def test_what_other_hosts_say_beside_it_does_no_harm() -> None:
    def edit(message: Any) -> None:
        message.parameters['triton_final_response'].bool_param = True
        message.model_version = '1'

    assert parse_response(changed_reply(edit), REQUEST).server_ms == {}


@given(st.data())
def test_damaged_messages_raise_nothing_else(data: st.DataObject) -> None:
    """Row 69 of the faults; the benchmarks fuzz for longer."""
    reader, whole = data.draw(
        st.sampled_from(
            [
                (parse_request, serialize_request(REQUEST)),
                (
                    lambda m: parse_response(m, REQUEST),
                    serialize_response(REQUEST, InferenceResponse(TENSORS)),
                ),
            ]
        )
    )
    message = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(message)))
        message[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    with contextlib.suppress(ProtocolError):
        reader(bytes(message))


def test_the_input_is_called_payload() -> None:
    """Triton's model folder under deploy/ names it so."""
    assert PAYLOAD == 'payload'


@given(
    st.sampled_from(['FP32', 'INT64', 'INT32', 'UINT16', 'UINT8', 'BOOL', '']),
    st.lists(st.one_of(st.integers(-2, 70), st.integers(-(2**63), 2**63 - 1)), max_size=9),
    st.binary(max_size=64),
    st.dictionaries(
        st.sampled_from([*PARAMETERS, 'other']),
        st.floats(),
    ),
)
def test_a_response_raises_nothing_but_protocol_errors(
    datatype: str, shape: list[int], raw: bytes, numbers: dict[str, float]
) -> None:
    message = pb.ModelInferResponse(model_name=REQUEST.model, id=REQUEST.request_id)
    for name in TENSORS:
        output = message.outputs.add(name=name, datatype=datatype, shape=shape)
        for parameter, number in numbers.items():
            output.parameters[parameter].double_param = number
        message.raw_output_contents.append(raw)
    try:
        response = parse_response(message.SerializeToString(), REQUEST)
    except ProtocolError:
        return
    assert all(np.isfinite(value).all() for value in response.tensors.values())


@pytest.mark.parametrize(
    ('message', 'is_taken'),
    [
        (b'\x3a\0' * 64, True),
        (b'\x3a\0' * 65, False),
        (b'\x0a\xfd\x7f' + bytes(16_381), True),
        (b'\x0a\xfe\x7f' + bytes(16_382), False),
        (b'\x3a\xff\xff\x01' + bytes(32_767), True),
        (b'\x08' + b'\xff' * 9 + b'\x01', True),
        (b'\x08' + b'\xff' * 10 + b'\x01', False),
        (b'\x0d' + bytes(4), True),
        (b'\x0d' + bytes(3), False),
        (b'\x09' + bytes(8), True),
        (b'\x09' + bytes(7), False),
        (b'\x0b', False),
        (b'\x0a\x02x', False),
        (b'\x0a\x02xy', True),
    ],
    ids=range(14),
)
def test_limits_of_a_message_are_exact(message: bytes, is_taken: bool) -> None:
    with contextlib.nullcontext() if is_taken else pytest.raises(ProtocolError):
        check_message(message, 7, len(message))
    with pytest.raises(ProtocolError, match=f'limit is {len(message) - 1}'):
        check_message(message, 7, len(message) - 1)
