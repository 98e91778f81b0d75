# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The compact form of a response: all tensors in one block of bytes, for slow links.

All numbers are little-endian::

    size  field
       1  version of this form
       1  flags: 1 the host keeps the features, 2 times follow
       8  if times follow: milliseconds in the queue and of the network run, float32
          for each tensor, in alphabetical order of their names:
       1    form: 0 floats, 1 integers, 2 depth, 3 labels
       1    n, number of dimensions
      2n    size of each dimension
            floats: 1 byte k; the highest k bytes of each float32, most significant first
            integers: 1 byte datatype: uint8, uint16, int32, int64; 1 byte k; the lowest k bytes
            of each value, least significant first
            depth: float32 step and base, 4 bytes tables, 4 bytes length; a code of depth_codec
            labels: 4 bytes length; a code of label_codec

A plain response names and describes each tensor, which takes 0.4 kB after gRPC's deflate; here
0.1 kB, and shorter tensors, make 1.1 kB of 1.8 kB.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ProtocolError
from mt_perception.offload.depth_codec import (
    MAX_CELLS,
    PARAMETERS,
    EncodedDepth,
    decode_depth,
    encode_depth,
)
from mt_perception.offload.float_rounding import mantissa_bits, rounded
from mt_perception.offload.label_codec import decode_labels, encode_labels

VERSION = 1

_FLOATS, _INTEGERS, _DEPTH, _LABELS = range(4)
_KEPT, _TIMES = 1, 2
_DATATYPES = tuple(np.dtype(name) for name in ('<u1', '<u2', '<i4', '<i8'))
_MAX_RANK = 8
_MAX_SIDE = (1 << 16) - 1
_SIGN_AND_EXPONENT_BITS = 9

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class CompactResponse:
    """Content of a block.

    Attributes:
        tensors: Tensor of the graph → value.
        times_ms: Time in the host's queue and of the network run; empty if unknown.
        kept: Whether the host keeps the features of the request.
    """

    tensors: Tensors
    times_ms: tuple[float, ...] = ()
    kept: bool = False


def pack_response(
    response: CompactResponse, maps: Collection[str], precision: float, error: float
) -> bytes | None:
    """Serialize a response; None if a tensor has no compact form.

    Args:
        response: The response, with finite values.
        maps: Tensors (1, h, w) that are depth maps.
        precision: Largest relative error of depth.
        error: Largest relative error of other floats.
    """
    parts = [bytes((VERSION, _KEPT * response.kept | _TIMES * bool(response.times_ms)))]
    if response.times_ms:
        parts.append(struct.pack('<2f', *response.times_ms))
    for name in sorted(response.tensors):
        value = response.tensors[name]
        if value.ndim > _MAX_RANK or max(value.shape, default=0) > _MAX_SIDE:
            return None
        is_map = value.ndim == 3 and len(value) == 1 and 0 < value.size <= MAX_CELLS
        if value.dtype == np.float32 and name in maps and is_map:
            form, content = _DEPTH, _packed_depth(value, precision)
        elif value.dtype == np.float32:
            form, content = _FLOATS, _packed_floats(value, error)
        elif value.dtype == np.uint8 and is_map:
            code = encode_labels(value[0])
            form, content = _LABELS, struct.pack('<I', len(code)) + code
        elif value.dtype in _DATATYPES and value.min(initial=0) >= 0:
            form, content = _INTEGERS, _packed_integers(value)
        else:
            return None
        parts += [struct.pack(f'<2B{value.ndim}H', form, value.ndim, *value.shape), content]
    return b''.join(parts)


def unpack_response(data: bytes, names: Collection[str]) -> CompactResponse:
    """Parse a response; nothing is allocated before its size is checked.

    Args:
        data: The serialized response.
        names: The tensors that were requested.

    Raises:
        ProtocolError: The bytes are no response of this version with these tensors.
    """
    block = _Block(data)
    version, flags = block.numbers('<2B')
    if version != VERSION or flags > (_KEPT | _TIMES):
        raise ProtocolError(
            f'a compact response of version {version} with flags {flags}; expected version '
            f'{VERSION} with known flags'
        )
    times_ms = block.numbers('<2f') if flags & _TIMES else ()
    if not all(0 <= value < math.inf for value in times_ms):
        raise ProtocolError(f'times of a compact response must be 0 or more, found {times_ms}')
    tensors = {name: _tensor(block) for name in sorted(names)}
    if block.remaining:
        raise ProtocolError(f'a compact response has {block.remaining} bytes too many')
    return CompactResponse(tensors, times_ms, bool(flags & _KEPT))


class _Block:
    """Reads bytes from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def remaining(self) -> int:
        """The number of bytes that were not read."""
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """The next bytes.

        Raises:
            ProtocolError: There are fewer.
        """
        if count > self.remaining:
            raise ProtocolError(
                f'a compact response ends after {self.remaining} of {count} bytes: truncated'
            )
        self._at += count
        return self._data[self._at - count : self._at]

    def numbers(self, form: str) -> tuple[Any, ...]:
        """The next numbers, in a format of ``struct``.

        Raises:
            ProtocolError: There are fewer bytes.
        """
        return struct.unpack(form, self.take(struct.calcsize(form)))


def _tensor(block: _Block) -> NDArray[Any]:
    """The next tensor.

    Raises:
        ProtocolError: It is truncated, damaged or too large.
    """
    form, rank = block.numbers('<2B')
    if rank > _MAX_RANK:
        raise ProtocolError(f'a compact tensor has {rank} dimensions; at most {_MAX_RANK}')
    shape = block.numbers(f'<{rank}H')
    size = math.prod(shape)
    if form == _FLOATS:
        (width,) = block.numbers('<B')
        return _floats(_values(block, size, width, 4)).reshape(shape)
    if form == _INTEGERS:
        index, width = block.numbers('<2B')
        if index >= len(_DATATYPES):
            raise ProtocolError(f'a compact tensor of datatype {index}; expected 0 to 3')
        datatype = _DATATYPES[index]
        return _integers(_values(block, size, width, datatype.itemsize), datatype).reshape(shape)
    if form not in (_DEPTH, _LABELS):
        raise ProtocolError(f'a compact tensor of form {form}; expected 0 to {_LABELS}')
    if rank != 3 or shape[0] != 1 or not 0 < size <= MAX_CELLS:
        raise ProtocolError(
            f'a compact map {shape}; expected (1, h, w) with 1 to {MAX_CELLS} cells'
        )
    if form == _LABELS:
        return decode_labels(block.take(*block.numbers('<I')), shape[1:])[None]
    *numbers, length = block.numbers('<2f2I')
    code = np.frombuffer(block.take(length), np.uint8)[None]
    parameters = dict(zip(PARAMETERS, (*map(float, numbers), *map(float, shape[1:])), strict=True))
    return decode_depth(EncodedDepth(code, parameters))


def _values(block: _Block, size: int, width: int, most: int) -> NDArray[np.uint8]:
    """Bytes (n, k) of values.

    Raises:
        ProtocolError: There are fewer, or k is out of range.
    """
    if not 1 <= width <= most:
        raise ProtocolError(f'a compact value has {width} bytes; expected 1 to {most}')
    return np.frombuffer(block.take(size * width), np.uint8).reshape(size, width)


def _packed_depth(value: NDArray[np.float32], precision: float) -> bytes:
    coded = encode_depth(value, precision)
    step, base, tables = (coded.numbers[name] for name in PARAMETERS[:3])
    return struct.pack('<2f2I', step, base, int(tables), coded.data.size) + coded.data.tobytes()


def _packed_floats(value: NDArray[np.float32], error: float) -> bytes:
    """The bytes of float32 that a relative error needs, most significant byte first."""
    width = min(4, math.ceil((_SIGN_AND_EXPONENT_BITS + mantissa_bits(error)) / 8))
    exact = 2.0 ** (_SIGN_AND_EXPONENT_BITS - 8 * width - 1)
    values = rounded(value, exact).astype('>f4').view(np.uint8).reshape(-1, 4)
    return bytes((width,)) + values[:, :width].tobytes()


def _floats(values: NDArray[np.uint8]) -> NDArray[np.float32]:
    whole = np.zeros((len(values), 4), np.uint8)
    whole[:, : values.shape[1]] = values
    return whole.view('>f4').astype(np.float32)


def _packed_integers(value: NDArray[Any]) -> bytes:
    """The bytes of integers that are 0 or more, least significant byte first."""
    width = max(1, -(-int(value.max(initial=0)).bit_length() // 8))
    values = np.ascontiguousarray(value, value.dtype.newbyteorder('<')).reshape(-1, 1)
    lowest = values.view(np.uint8)[:, :width].tobytes()
    return bytes((_DATATYPES.index(value.dtype), width)) + lowest


def _integers(values: NDArray[np.uint8], datatype: np.dtype[Any]) -> NDArray[Any]:
    whole = np.zeros((len(values), datatype.itemsize), np.uint8)
    whole[:, : values.shape[1]] = values
    return whole.view(datatype).astype(datatype.newbyteorder('='))
