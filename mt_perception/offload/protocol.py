# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Requests and replies as messages of the Open Inference Protocol (KServe v2) over gRPC.

A request has one input, ``payload``, UINT8 (1, n), as packed by ``offload.payload``; its outputs
are tensors of the task graph, such as ``detection/boxes``. Messages are read strictly: both ends
refuse what they would not have written, before memory is taken for it.

Two parameters are ours, and optional, so that other hosts can ignore them: ``min_score`` and
``precision`` let the host leave out of its reply what the robot would not look at. Of 141 kB for
a frame of 320×416, more than the image itself, 3.1 kB remain, deflated by gRPC.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2 as pb

from mt_perception.errors import ProtocolError
from mt_perception.offload.depth_codec import PARAMETERS, EncodedDepth, decode_depth, encode_depth
from mt_perception.offload.message_limits import check_message

SERVICE = 'inference.GRPCInferenceService'
MODEL_INFER = f'/{SERVICE}/ModelInfer'

PAYLOAD = 'payload'

MAX_REQUEST_BYTES = (1 << 20) + (1 << 16)
MAX_REPLY_BYTES = 64 << 20

KEEPALIVE_S = 10.0
"""Connections are probed this often; hosts take it for abuse if it is much more often."""

_RAW_INPUTS, _RAW_OUTPUTS = 7, 6
"""Field numbers of ``raw_input_contents`` and ``raw_output_contents``."""

_MAX_NAME = 128
_MANTISSA_BITS = 23
"""Of a float32."""
_OF_PRECISION = 0.01
"""Boxes and scores err by no more than this share of what depth may."""
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
"""Parameters of a reply: how long the request waited at the host, and was worked on."""


@dataclass(frozen=True)
class InferenceRequest:
    """One frame's work for the host.

    Attributes:
        model: Name of the model.
        version: Its version; empty leaves the choice to the host.
        request_id: Comes back with the reply.
        payload: What the input holds.
        tensors: The tensors that are wanted, each once; none means all.
        min_score: Detections with a lower score may be left out.
        precision: Relative error that depth may have, and boxes and scores a hundredth of it;
            0 sends everything as it is.
    """

    model: str
    version: str
    request_id: str
    payload: bytes
    tensors: tuple[str, ...] = ()
    min_score: float = 0.0
    precision: float = 0.0


@dataclass(frozen=True, eq=False)
class InferenceResponse:
    """What the host made of a request.

    Attributes:
        tensors: Tensor of the graph → its value.
        server_ms: Stage → milliseconds at the host; empty where it does not say.
    """

    tensors: Mapping[str, NDArray[Any]]
    server_ms: Mapping[str, float] = field(default_factory=dict)


def serialize_request(request: InferenceRequest) -> bytes:
    """The message of a request."""
    message = pb.ModelInferRequest(
        model_name=request.model, model_version=request.version, id=request.request_id
    )
    tensor = message.inputs.add(name=PAYLOAD, datatype='UINT8')
    tensor.shape.extend([1, len(request.payload)])
    message.raw_input_contents.append(request.payload)
    for name in request.tensors:
        message.outputs.add(name=name)
    for name in ('min_score', 'precision'):
        if value := getattr(request, name):
            message.parameters[name].double_param = value
    serialised: bytes = message.SerializeToString()
    return serialised


def parse_request(message: bytes, max_bytes: int = MAX_REQUEST_BYTES) -> InferenceRequest:
    """Read a request.

    Raises:
        ProtocolError: It is too large, no ModelInferRequest, or not of the form that we serve.
    """
    check_message(message, _RAW_INPUTS, max_bytes)
    try:
        parsed = pb.ModelInferRequest.FromString(message)
    except DecodeError as error:
        raise ProtocolError(f'the message is no ModelInferRequest: {error}') from error
    if any(output.parameters for output in parsed.outputs):
        raise ProtocolError('parameters of outputs, such as shared memory, are not supported')
    names = tuple(output.name for output in parsed.outputs)
    if len(set(names)) != len(names):
        raise ProtocolError('an output is asked for twice')
    numbers = _numbers(parsed.parameters)
    if unknown := set(numbers) - {'min_score', 'precision'}:
        raise ProtocolError(f'parameter {min(unknown)[:_MAX_NAME]!r} is not supported')
    return InferenceRequest(
        model=_name(parsed.model_name, 'model_name'),
        version=_name(parsed.model_version, 'model_version'),
        request_id=_name(parsed.id, 'id'),
        payload=_payload(parsed),
        tensors=names,
        **numbers,
    )


def serialize_response(
    request: InferenceRequest, reply: InferenceResponse, maps: Collection[str] = ()
) -> bytes:
    """The message of a reply.

    Args:
        request: What it answers.
        reply: What to write.
        maps: The tensors that may be packed, if the request lets it.

    Raises:
        ProtocolError: A tensor has a type that replies do not have.
    """
    message = pb.ModelInferResponse(
        model_name=request.model, model_version=request.version, id=request.request_id
    )
    for name, value in reply.tensors.items():
        output = message.outputs.add(name=name)
        if request.precision > 0 and name in maps and value.ndim == 3:
            made = encode_depth(value, request.precision)
            value = made.data
            for parameter, number in made.numbers.items():
                output.parameters[parameter].double_param = number
        elif request.precision > 0 and value.dtype == np.float32:
            value = _rounded(value, _OF_PRECISION * request.precision)
        if value.dtype not in _DATATYPE_OF:
            raise ProtocolError(f'tensor {name!r} is {value.dtype}; it cannot be sent')
        output.datatype = _DATATYPE_OF[value.dtype]
        output.shape.extend(value.shape)
        message.raw_output_contents.append(np.ascontiguousarray(value).tobytes())
    for stage, value_ms in reply.server_ms.items():
        message.parameters[stage].double_param = value_ms
    serialised: bytes = message.SerializeToString()
    return serialised


def _rounded(value: NDArray[np.float32], error: float) -> NDArray[np.float32]:
    """Finite numbers with as many bits as this relative error needs: zeros are soon deflated."""
    kept = math.ceil(-math.log2(min(error, 0.5))) - 1
    dropped = np.uint64(max(_MANTISSA_BITS - kept, 0))
    half = np.uint64(1) << dropped >> np.uint64(1)
    bits = np.ascontiguousarray(value).view(np.uint32).astype(np.uint64)
    return ((bits + half) >> dropped << dropped).astype(np.uint32).view(np.float32)


def parse_response(
    message: bytes, request: InferenceRequest, max_bytes: int = MAX_REPLY_BYTES
) -> InferenceResponse:
    """Read the reply to a request.

    Raises:
        ProtocolError: It is too large, no ModelInferResponse, the reply to something else, or a
            tensor is missing, twice there, not finite, or not as large as it says.
    """
    check_message(message, _RAW_OUTPUTS, max_bytes)
    try:
        parsed = pb.ModelInferResponse.FromString(message)
    except DecodeError as error:
        raise ProtocolError(f'the message is no ModelInferResponse: {error}') from error
    if parsed.id != request.request_id:
        raise ProtocolError(
            f'the reply is to request {parsed.id[:_MAX_NAME]!r}, not {request.request_id!r}'
        )
    if parsed.model_name != request.model:
        raise ProtocolError(
            f'the reply is by model {parsed.model_name[:_MAX_NAME]!r}, not {request.model!r}'
        )
    names = [output.name for output in parsed.outputs]
    if (
        len(names) != len(parsed.raw_output_contents)
        or len(set(names)) != len(names)
        or (request.tensors and set(names) != set(request.tensors))
    ):
        raise ProtocolError(
            f'the reply has the outputs {", ".join(names)[:500]} and '
            f'{len(parsed.raw_output_contents)} raw tensors; expected {", ".join(request.tensors)}'
        )
    tensors = {
        output.name: _tensor(output, raw)
        for output, raw in zip(parsed.outputs, parsed.raw_output_contents, strict=True)
    }
    # What other hosts say about themselves is none of our business.
    stages = {name: parsed.parameters[name] for name in SERVER_MS if name in parsed.parameters}
    return InferenceResponse(tensors, _numbers(stages))


def _tensor(output: Any, raw: bytes) -> NDArray[Any]:
    """One output tensor.

    Raises:
        ProtocolError: Type, shape and bytes do not fit, or a value is not finite.
    """
    shape = tuple(output.shape)
    kind = _DATATYPES.get(output.datatype)
    if kind is None or len(shape) > _MAX_RANK or any(size < 0 for size in shape):
        raise ProtocolError(
            f'tensor {output.name!r} is {output.datatype[:16]!r} {shape[:_MAX_RANK]}; expected '
            f'{", ".join(_DATATYPES)} and at most {_MAX_RANK} sizes'
        )
    expected = math.prod(shape) * kind.itemsize
    if len(raw) != expected:
        raise ProtocolError(
            f'tensor {output.name!r} {output.datatype} {shape} must have {expected} bytes, '
            f'found {len(raw)}'
        )
    value: NDArray[Any] = np.frombuffer(raw, kind).reshape(shape)
    if PARAMETERS[0] in output.parameters:
        value = decode_depth(EncodedDepth(value, _numbers(output.parameters)))
    if value.dtype.kind == 'f' and not np.isfinite(value).all():
        raise ProtocolError(f'tensor {output.name!r} has values that are not finite')
    return value


def _payload(parsed: Any) -> bytes:
    """The one input of a request.

    Raises:
        ProtocolError: There is another one, or its type, shape and bytes do not fit.
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
    """Parameters that are numbers, none of them negative.

    Raises:
        ProtocolError: One is something else.
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
