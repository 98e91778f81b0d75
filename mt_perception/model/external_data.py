# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finds tensors of an ONNX file that keep their values in another file.

Such a file has no checksum and may lie anywhere on the machine (CVE-2022-25882,
CVE-2024-27318). The search walks the protobuf messages of ``onnx.proto`` that can hold a tensor;
the package ``onnx`` is not needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

# The name of the file is under the key "location", after its length of 8 as protobuf writes it,
# with or without padding. A file without these bytes needs no walk.
_KEY = re.compile(rb'(?:\x08|\x88\x80*\x00)location')

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_MAX_DEPTH = 100
"""Protobuf's own limit on nested messages."""

# Message of onnx.proto → field number → message in that field.
_MESSAGES: Mapping[str, Mapping[int, str]] = {
    'Model': {7: 'Graph', 20: 'Training', 25: 'Function'},
    'Training': {1: 'Graph', 2: 'Graph'},
    'Graph': {1: 'Node', 5: 'Tensor', 15: 'SparseTensor'},
    'Function': {7: 'Node', 11: 'Attribute'},
    'Node': {5: 'Attribute'},
    'Attribute': {
        5: 'Tensor',
        6: 'Graph',
        10: 'Tensor',
        11: 'Graph',
        22: 'SparseTensor',
        23: 'SparseTensor',
    },
    'SparseTensor': {1: 'Tensor', 2: 'Tensor'},
    'Tensor': {},
}


def has_external_data(content: bytes) -> bool:
    """Whether a tensor of an ONNX file refers to another file.

    Args:
        content: The file.

    Raises:
        ValueError: The file is not a protobuf message of ONNX.
    """
    if _KEY.search(content) is None:
        return False
    stack = [('Model', memoryview(content), 0)]
    while stack:
        kind, message, depth = stack.pop()
        if depth > _MAX_DEPTH:
            raise ValueError(f'messages are nested deeper than {_MAX_DEPTH} levels')
        inner = _MESSAGES[kind]
        for number, wire, value in _fields(message):
            if kind == 'Tensor':
                if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value):
                    return True
            elif number in inner and wire == _BYTES and isinstance(value, memoryview):
                stack.append((inner[number], value, depth + 1))
    return False


def _fields(message: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Field number, wire type and value of each field of a message."""
    position, end = 0, len(message)
    while position < end:
        tag, position = _varint(message, position)
        number, wire = (tag & 0xFFFFFFFF) >> 3, tag & 7
        value: int | memoryview
        if wire == _VARINT:
            value, position = _varint(message, position)
        elif wire in (_BYTES, _FIXED64, _FIXED32):
            size = {_FIXED64: 8, _FIXED32: 4}.get(wire)
            if size is None:
                size, position = _varint(message, position)
            if size > end - position:
                raise ValueError(f'a field of {size} bytes is longer than its message')
            value = message[position : position + size]
            position += size
        else:
            raise ValueError(f'wire type {wire} is not used by ONNX')
        yield number, wire, value


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """An integer and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError('an integer is cut off or longer than 10 bytes')
