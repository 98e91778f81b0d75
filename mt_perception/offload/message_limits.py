# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Limits on protobuf messages, checked before a message is parsed.

Parsing multiplies memory: a field of two bytes becomes an object of a hundred. Raw tensors keep
their size and are counted; everything else of a message is limited in bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mt_perception.errors import ProtocolError

MAX_REQUEST_BYTES = (1 << 20) + (1 << 16)

MAX_DESCRIPTION_BYTES = 16_384
"""Upper limit on names, shapes and parameters of a message; ours have a few hundred bytes."""

MAX_RAW_TENSORS = 64

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


@contextmanager
def protocol_errors(what: str) -> Iterator[None]:
    """Convert every exception inside to a ProtocolError: remote bytes may raise nothing else.

    Args:
        what: Name of the message, for the error.

    Raises:
        ProtocolError: Any exception was raised inside.
    """
    try:
        yield
    except ProtocolError:
        raise
    except Exception as error:
        # protobuf, NumPy and struct have exceptions of their own for malformed bytes.
        raise ProtocolError(f'the {what} is malformed: {type(error).__name__}: {error}') from error


def check_message(message: bytes, raw_field: int, max_bytes: int) -> None:
    """Check the outermost fields of a serialized message.

    Args:
        message: The serialized message.
        raw_field: Field number of the raw tensors.
        max_bytes: Upper limit on the size of the message.

    Raises:
        ProtocolError: The message is too large, has too many raw tensors, too many other bytes,
            or a field that ends behind the message.
    """
    if len(message) > max_bytes:
        raise ProtocolError(f'the message has {len(message)} bytes; the limit is {max_bytes}')
    at = described = raw_tensors = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        wire_type = key & 7
        if wire_type == _VARINT:
            _, at = _varint(message, at)
        elif wire_type == _BYTES:
            length, at = _varint(message, at)
            at += length
        elif wire_type in (_FIXED32, _FIXED64):
            at += 4 if wire_type == _FIXED32 else 8
        else:
            raise ProtocolError(
                f'the message has a field of wire type {wire_type} at byte {start}'
            )
        if at > len(message):
            raise ProtocolError(
                f'a field at byte {start} ends at {at}, the message at {len(message)}: truncated'
            )
        if wire_type == _BYTES and key >> 3 == raw_field:
            raw_tensors += 1
        else:
            described += at - start
        if raw_tensors > MAX_RAW_TENSORS or described > MAX_DESCRIPTION_BYTES:
            raise ProtocolError(
                f'the message has more than {MAX_RAW_TENSORS} raw tensors or '
                f'{MAX_DESCRIPTION_BYTES} other bytes; it was not parsed'
            )


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """Value of a varint of up to 64 bits, and the offset behind it."""
    value = 0
    for i, byte in enumerate(message[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise ProtocolError(f'a varint at byte {at} of the message does not end')
