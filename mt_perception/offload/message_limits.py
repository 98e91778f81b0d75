# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A protobuf message is looked over before it is parsed: what is parsed takes memory.

A field of two bytes becomes an object of a hundred. Raw tensors are counted, since they stay what
they are; everything else together may not be larger than a description has to be.
"""

from __future__ import annotations

from mt_perception.errors import ProtocolError

MAX_DESCRIPTION_BYTES = 16_384
"""Names, shapes and parameters of a message together; ours have a few hundred bytes."""

MAX_RAW_TENSORS = 64

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10


def check_message(message: bytes, raw_field: int, max_bytes: int) -> None:
    """Walk the outermost fields of a serialised message.

    Args:
        message: As it came.
        raw_field: Number of the field that holds the raw tensors.
        max_bytes: Largest message.

    Raises:
        ProtocolError: It is too large, has too many raw tensors, too long a description, or
            fields that end behind its end.
    """
    if len(message) > max_bytes:
        raise ProtocolError(f'the message has {len(message)} bytes; at most {max_bytes} are read')
    at = described = raw_tensors = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            _, at = _varint(message, at)
        elif kind == _BYTES:
            length, at = _varint(message, at)
            at += length
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            raise ProtocolError(f'the message has a field of kind {kind} at byte {start}')
        if at > len(message):
            raise ProtocolError(
                f'a field at byte {start} ends at {at}, the message at {len(message)}: truncated'
            )
        if kind == _BYTES and key >> 3 == raw_field:
            raw_tensors += 1
        else:
            described += at - start
        if raw_tensors > MAX_RAW_TENSORS or described > MAX_DESCRIPTION_BYTES:
            raise ProtocolError(
                f'the message has more than {MAX_RAW_TENSORS} raw tensors or '
                f'{MAX_DESCRIPTION_BYTES} bytes beside them; refused unread'
            )


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of up to 64 bits in groups of seven, and where it ends."""
    value = 0
    for i, byte in enumerate(message[at : at + _LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            return value, at + i + 1
    raise ProtocolError(f'a number at byte {at} of the message has no end')
