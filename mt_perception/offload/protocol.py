# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Messages of the Open Inference Protocol (KServe v2) over gRPC.

A request has one input, ``payload``, UINT8 (1, n), in the format of ``offload.payload``. Its
outputs are tensors of the task graph, such as ``detection/boxes``. Both ends refuse messages that
this module would not have written, before memory is allocated for them.

Two optional parameters of requests reduce the response: ``min_score`` drops detections below the
robot's threshold, and ``precision`` sets a relative error for depth, boxes and scores. They reduce
141 kB for a frame of 320×416 to 1.8 kB after gRPC's deflate. With the output ``compact`` all
tensors arrive in one block of bytes (``compact_response``), 1.1 kB then.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb

from mt_perception.errors import ProtocolError
from mt_perception.offload.compact_response import (
    VERSION,
    CompactResponse,
    pack_response,
    unpack_response,
)
from mt_perception.offload.depth_codec import (
    MAX_CELLS,
    PARAMETERS,
    EncodedDepth,
    decode_depth,
    encode_depth,
)
from mt_perception.offload.float_rounding import MANTISSA_BITS, rounded
from mt_perception.offload.message_limits import MAX_REQUEST_BYTES, check_message, protocol_errors

SERVICE = 'inference.GRPCInferenceService'
MODEL_INFER = f'/{SERVICE}/ModelInfer'

PAYLOAD = 'payload'

MAX_REPLY_BYTES = 64 << 20

KEEPALIVE_S = 10.0
"""Interval of keep-alive pings; hosts close connections with a much shorter one."""

KEPT = 'kept'
"""Parameter of a response: the host keeps the features of the request."""

COMPACT = 'compact'
"""Output of a request for the compact form, and of such a response. As a parameter of other
responses it is the version of that form, so that robots request it of no older host."""

COMPACT_PRECISION = 0.02
"""Robots request the compact form with this precision or a coarser one, on links slower than about
4 Mbit/s: on faster ones its computation takes longer than the bytes."""

_RAW_INPUTS, _RAW_OUTPUTS = 7, 6
"""Field numbers of ``raw_input_contents`` and ``raw_output_contents``."""

_MAX_NAME = 128
_BOX_PRECISION = 0.01
"""Relative error of boxes and scores, as a share of the precision of depth."""
_MIN_PRECISION = 2.0**-MANTISSA_BITS
"""A finer precision than a float32 has is treated as exact."""
_MAX_SIDE = 1 << 24
_MAX_RANK = 8
_DATATYPES: Mapping[str, np.dtype[Any]] = {
    'FP32': np.dtype('<f4'),
    'INT64': np.dtype('<i8'),
    'INT32': np.dtype('<i4'),
    'UINT16': np.dtype('<u2'),
    'UINT8': np.dtype('u1'),
}
_DATATYPE_OF = {dtype: name for name, dtype in _DATATYPES.items()}

SERVER_MS = ('queue_ms', 'compute_ms')
"""Parameters of a response: time in the host's queue, and of the network run."""


@dataclass(frozen=True)
class InferenceRequest:
    """One frame to infer.

    Attributes:
        model: Name of the model.
        version: Version of the model; empty leaves the choice to the host.
        request_id: Identifier, repeated in the response.
        payload: The packed payload.
        tensors: Requested tensors, each once; none requests all.
        min_score: The host may drop detections with a lower score, 0 to 1.
        precision: Largest relative error of depth, 0 to 1, and a hundredth of it for boxes and
            scores; 0 requests exact values.
        compact: Requests the compact form of a response that is not exact.
        complete: The requested tensors are all that the model has: their names are not sent.
    """

    model: str
    version: str
    request_id: str
    payload: bytes
    tensors: tuple[str, ...] = ()
    min_score: float = 0.0
    precision: float = 0.0
    compact: bool = False
    complete: bool = False


@dataclass(frozen=True, eq=False)
class InferenceResponse:
    """The result of a request.

    Attributes:
        tensors: Tensor of the graph → value.
        server_ms: Stage → milliseconds at the host; empty if the host does not report them.
        kept: Whether the host keeps the features, so that later frames may refer to them.
        compact: Whether the host has the compact form.
    """

    tensors: Mapping[str, NDArray[Any]]
    server_ms: Mapping[str, float] = field(default_factory=dict)
    kept: bool = False
    compact: bool = False


def serialize_request(request: InferenceRequest) -> bytes:
    """Serialize a request."""
    message = pb.ModelInferRequest(
        model_name=request.model, model_version=request.version, id=request.request_id
    )
    tensor = message.inputs.add(name=PAYLOAD, datatype='UINT8')
    tensor.shape.extend([1, len(request.payload)])
    message.raw_input_contents.append(request.payload)
    names = () if request.complete else request.tensors
    for name in (COMPACT, *names) if request.compact else names:
        message.outputs.add(name=name)
    for name in ('min_score', 'precision'):
        if value := getattr(request, name):
            message.parameters[name].double_param = value
    serialised: bytes = message.SerializeToString()
    return serialised


def parse_request(message: bytes, max_bytes: int = MAX_REQUEST_BYTES) -> InferenceRequest:
    """Parse a request.

    Args:
        message: Serialized ModelInferRequest.
        max_bytes: Upper limit on its size.

    Raises:
        ProtocolError: The message is too large, no ModelInferRequest, or has fields or values
            that this host does not support.
    """
    with protocol_errors('request'):
        check_message(message, _RAW_INPUTS, max_bytes)
        return _request(pb.ModelInferRequest.FromString(message))


def _request(parsed: Any) -> InferenceRequest:
    if any(output.parameters for output in parsed.outputs):
        raise ProtocolError('parameters of outputs, such as shared memory, are not supported')
    names = tuple(output.name for output in parsed.outputs)
    if len(set(names)) != len(names):
        raise ProtocolError('an output is requested twice; request each output once')
    numbers = {'min_score': 0.0, 'precision': 0.0, **_numbers(parsed.parameters)}
    if unknown := set(numbers) - {'min_score', 'precision'}:
        raise ProtocolError(f'parameter {min(unknown)[:_MAX_NAME]!r} is not supported')
    if any(value > 1 for value in numbers.values()):
        raise ProtocolError(f'min_score and precision must be 0 to 1, found {numbers}')
    return InferenceRequest(
        model=_name(parsed.model_name, 'model_name'),
        version=_name(parsed.model_version, 'model_version'),
        request_id=_name(parsed.id, 'id'),
        payload=_payload(parsed),
        tensors=tuple(name for name in names if name != COMPACT),
        min_score=numbers['min_score'],
        precision=numbers['precision'],
        compact=COMPACT in names,
    )


def serialize_response(
    request: InferenceRequest, reply: InferenceResponse, maps: Collection[str] = ()
) -> bytes:
    """Serialize a response.

    Args:
        request: The request.
        reply: The response.
        maps: Tensors (1, h, w) to compress as depth maps if the request has a precision and
            they have at most MAX_CELLS cells.

    Raises:
        ProtocolError: A tensor has a type that the protocol does not have.
    """
    message = pb.ModelInferResponse(
        model_name=request.model, model_version=request.version, id=request.request_id
    )
    reduced = request.precision >= _MIN_PRECISION
    if request.compact and reduced:
        block = _block(request, reply, maps)
        if block is not None:
            message.outputs.add(name=COMPACT, datatype='UINT8').shape.extend([1, len(block)])
            message.raw_output_contents.append(block)
            return bytes(message.SerializeToString())
    for name, value in reply.tensors.items():
        output = message.outputs.add(name=name)
        if reduced and name in maps and value.ndim == 3 and 0 < value.size <= MAX_CELLS:
            made = encode_depth(value, request.precision)
            value = made.data
            for parameter, number in made.numbers.items():
                output.parameters[parameter].double_param = number
        elif reduced and value.dtype == np.float32:
            value = rounded(value, _BOX_PRECISION * request.precision)
        if value.dtype not in _DATATYPE_OF:
            raise ProtocolError(
                f'tensor {name!r} is {value.dtype}; expected one of {", ".join(_DATATYPES)}'
            )
        output.datatype = _DATATYPE_OF[value.dtype]
        output.shape.extend(value.shape)
        message.raw_output_contents.append(np.ascontiguousarray(value).tobytes())
    for stage, value_ms in reply.server_ms.items():
        message.parameters[stage].double_param = value_ms
    if reply.kept:
        message.parameters[KEPT].bool_param = True
    message.parameters[COMPACT].double_param = VERSION
    serialised: bytes = message.SerializeToString()
    return serialised


def _block(
    request: InferenceRequest, reply: InferenceResponse, maps: Collection[str]
) -> bytes | None:
    """The compact form of a response; None if a tensor has none."""
    times_ms = tuple(reply.server_ms.get(stage, 0.0) for stage in SERVER_MS)
    response = CompactResponse(reply.tensors, times_ms if reply.server_ms else (), reply.kept)
    return pack_response(response, maps, request.precision, _BOX_PRECISION * request.precision)


def parse_response(message: bytes, request: InferenceRequest) -> InferenceResponse:
    """Parse the response to a request.

    Args:
        message: Serialized ModelInferResponse.
        request: The request.

    Raises:
        ProtocolError: The message is too large or no ModelInferResponse, belongs to another
            request, or a tensor is missing, duplicate, not finite or of another size than its
            shape. Nothing else is raised, whatever the message holds.
    """
    with protocol_errors('response'):
        check_message(message, _RAW_OUTPUTS, MAX_REPLY_BYTES)
        return _response(pb.ModelInferResponse.FromString(message), request)


def _response(parsed: Any, request: InferenceRequest) -> InferenceResponse:
    if parsed.id != request.request_id:
        raise ProtocolError(
            f'the response is for request {parsed.id[:_MAX_NAME]!r}; '
            f'expected {request.request_id!r}'
        )
    if parsed.model_name != request.model:
        raise ProtocolError(
            f'the response is of model {parsed.model_name[:_MAX_NAME]!r}; '
            f'expected {request.model!r}'
        )
    names = [output.name for output in parsed.outputs]
    if request.compact and names == [COMPACT] and len(parsed.raw_output_contents) == 1:
        return _unpacked(parsed.raw_output_contents[0], request)
    if (
        len(names) != len(parsed.raw_output_contents)
        or len(set(names)) != len(names)
        or (request.tensors and set(names) != set(request.tensors))
    ):
        raise ProtocolError(
            f'the response has the outputs {", ".join(names)[:500]} and '
            f'{len(parsed.raw_output_contents)} raw tensors; expected {", ".join(request.tensors)}'
        )
    tensors = {
        output.name: _tensor(output, raw)
        for output, raw in zip(parsed.outputs, parsed.raw_output_contents, strict=True)
    }
    # Other parameters of other hosts are ignored.
    stages = {name: parsed.parameters[name] for name in SERVER_MS if name in parsed.parameters}
    kept = KEPT in parsed.parameters and parsed.parameters[KEPT].bool_param
    compact = COMPACT in parsed.parameters and parsed.parameters[COMPACT].double_param == VERSION
    return InferenceResponse(tensors, _numbers(stages), kept, compact)


def _unpacked(block: bytes, request: InferenceRequest) -> InferenceResponse:
    """The response in a compact form.

    Raises:
        ProtocolError: It is damaged, or a value is not finite.
    """
    found = unpack_response(block, request.tensors)
    for name, value in found.tensors.items():
        _check_finite(name, value)
    stages = dict(zip(SERVER_MS, found.times_ms, strict=False))
    return InferenceResponse(found.tensors, stages, found.kept, compact=True)


def _tensor(output: Any, raw: bytes) -> NDArray[Any]:
    """One output tensor.

    Raises:
        ProtocolError: Type, shape and bytes do not fit, or a value is not finite.
    """
    shape = tuple(output.shape)
    dtype = _DATATYPES.get(output.datatype)
    # NumPy refuses a size of 2^62 even where another one is 0 and no byte is needed.
    if (
        dtype is None
        or len(shape) > _MAX_RANK
        or not all(0 <= size <= _MAX_SIDE for size in shape)
    ):
        raise ProtocolError(
            f'tensor {output.name[:_MAX_NAME]!r} is {output.datatype[:16]!r} '
            f'{shape[:_MAX_RANK]}; expected {", ".join(_DATATYPES)}, at most {_MAX_RANK} '
            f'dimensions and sizes of 0 to {_MAX_SIDE}'
        )
    expected = math.prod(shape) * dtype.itemsize
    if len(raw) != expected:
        raise ProtocolError(
            f'tensor {output.name[:_MAX_NAME]!r} {output.datatype} {shape} must have {expected} '
            f'bytes, found {len(raw)}'
        )
    value: NDArray[Any] = np.frombuffer(raw, dtype).reshape(shape)
    if PARAMETERS[0] in output.parameters:
        value = decode_depth(EncodedDepth(value, _numbers(output.parameters)))
    _check_finite(output.name, value)
    return value


def _check_finite(name: str, value: NDArray[Any]) -> None:
    """Check that a tensor has finite values.

    Raises:
        ProtocolError: It has others.
    """
    if value.dtype.kind == 'f' and not np.isfinite(value).all():
        raise ProtocolError(f'tensor {name[:_MAX_NAME]!r} has values that are not finite')


def _payload(parsed: Any) -> bytes:
    """The input of a request.

    Raises:
        ProtocolError: The request has other inputs, or type, shape and bytes do not fit.
    """
    if len(parsed.inputs) != 1 or parsed.inputs[0].name != PAYLOAD:
        names = ', '.join(tensor.name[:_MAX_NAME] for tensor in parsed.inputs[:4]) or 'none'
        raise ProtocolError(
            f'expected one input, {PAYLOAD!r}; found {len(parsed.inputs)}: {names}'
        )
    tensor = parsed.inputs[0]
    if tensor.HasField('contents') or tensor.parameters or len(parsed.raw_input_contents) != 1:
        raise ProtocolError(f'input {PAYLOAD!r} must be in raw_input_contents, without parameters')
    content: bytes = parsed.raw_input_contents[0]
    if tensor.datatype != 'UINT8' or list(tensor.shape) != [1, len(content)]:
        raise ProtocolError(
            f'input {PAYLOAD!r} is {tensor.datatype[:16]!r} {list(tensor.shape)[:_MAX_RANK]} '
            f'with {len(content)} bytes; expected UINT8 [1, {len(content)}]'
        )
    return content


def _numbers(parameters: Mapping[str, Any]) -> dict[str, float]:
    """Parameters that are finite numbers of at least 0.

    Raises:
        ProtocolError: A parameter has another type or value.
    """
    numbers: dict[str, float] = {}
    for name, parameter in parameters.items():
        value = parameter.double_param
        if parameter.WhichOneof('parameter_choice') != 'double_param' or not (
            0 <= value < math.inf
        ):
            raise ProtocolError(f'parameter {name[:_MAX_NAME]!r} must be a number, 0 or more')
        numbers[name] = value
    return numbers


def _name(text: str, what: str) -> str:
    if len(text) > _MAX_NAME or not text.isprintable():
        raise ProtocolError(f'{what} must have at most {_MAX_NAME} printable characters')
    return text
