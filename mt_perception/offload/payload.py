# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The payload: one frame for a remote host, in a versioned and bounded binary format.

All numbers are little-endian::

    offset  size  field
         0     4  magic, "MTPL"
         4     1  version of this format
         5     1  kind of the body: 0 symbols, 1 JPEG, 2 difference
         6     1  rate: index into the model's rates; 0 for JPEG
         7     1  n, bytes of the frame id
         8    16  digest of the model's cut
        24     6  shape of the symbols or the image: channels, height, width
        30     8  stamp in nanoseconds, signed
        38     4  b, bytes of the body
        42     4  crc32 of everything else
        46     n  frame id, UTF-8
      46+n     b  body

The body of a difference begins with the crc32 of the body of an earlier payload with symbols of
the same rate and shape, which the host has confirmed to keep. The mask of changed cells and the
code of their symbols follow. Hosts without references refuse it as an unknown kind.

Results are in pixels of the network's image and in depth per focal length. Hosts need neither the
camera's intrinsics nor the size of the original image.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from mt_perception.errors import PayloadError

MAGIC = b'MTPL'
VERSION = 1
SYMBOLS = 0
JPEG = 1
DIFFERENCE = 2
DIGEST_BYTES = 16
REFERENCE_BYTES = 4

_HEADER = struct.Struct('<4s4B16s3HqI')
_CRC = struct.Struct('<I')
_BEFORE_BODY = _HEADER.size + _CRC.size
_STAMPS = range(-(1 << 63), 1 << 63)


@dataclass(frozen=True)
class PayloadLimits:
    """Limits of a receiver.

    Attributes:
        max_bytes: Upper limit on the size of a payload.
        max_elements: Upper limit on symbols, or on values of the image.
    """

    max_bytes: int = 1 << 20
    max_elements: int = 1 << 21


DEFAULT_LIMITS = PayloadLimits()


@dataclass(frozen=True)
class Payload:
    """The features of one frame, or its image.

    Attributes:
        kind: SYMBOLS, JPEG or DIFFERENCE.
        rate: Index of the rate.
        digest: Digest of the cut (``Cut.digest``), equal on robot and host.
        shape: (channels, height, width) of the symbols, or of the image in network pixels.
        stamp_ns: Stamp of the frame in nanoseconds.
        frame_id: Optical frame of the camera.
        body: The coded symbols, the image file, or a difference.
    """

    kind: int
    rate: int
    digest: bytes
    shape: tuple[int, int, int]
    stamp_ns: int
    frame_id: str
    body: bytes

    @property
    def checksum(self) -> int:
        """The crc32 of the body."""
        return zlib.crc32(self.body)

    @property
    def reference(self) -> int:
        """Checksum of the payload that a difference refers to."""
        return int.from_bytes(self.body[:REFERENCE_BYTES], 'little')

    def referenced(self, found: Payload | None) -> Payload:
        """The payload that a difference refers to, checked.

        Args:
            found: The payload that was found by ``reference``.

        Raises:
            PayloadError: It was not found, or is of another rate, shape or model.
        """
        if found is None or found.kind != SYMBOLS or found.checksum != self.reference:
            raise PayloadError(
                'reference', 'the key frame of the difference is not stored; send a key frame'
            )
        if (found.rate, found.shape, found.digest) != (self.rate, self.shape, self.digest):
            raise PayloadError(
                'reference', 'a difference refers to a frame of another rate or size'
            )
        return found


def difference_body(reference: int, code: bytes) -> bytes:
    """The body of a difference to the payload with a checksum."""
    return reference.to_bytes(REFERENCE_BYTES, 'little') + code


def pack(payload: Payload) -> bytes:
    """Serialize a payload.

    Raises:
        PayloadError: A field does not fit into the format.
    """
    frame_id = payload.frame_id.encode('utf-8', 'surrogatepass')
    if len(frame_id) > 255:
        raise PayloadError('frame_id', f'frame id has {len(frame_id)} bytes; at most 255 fit')
    if len(payload.digest) != DIGEST_BYTES or payload.stamp_ns not in _STAMPS:
        raise PayloadError('field', 'expected a digest of 16 bytes and a stamp of 64 bits')
    try:
        header = _HEADER.pack(
            MAGIC,
            VERSION,
            payload.kind,
            payload.rate,
            len(frame_id),
            payload.digest,
            *payload.shape,
            payload.stamp_ns,
            len(payload.body),
        )
    except struct.error as error:
        raise PayloadError('field', f'a field does not fit into the payload: {error}') from error
    return b''.join(
        (header, _CRC.pack(_checksum(header, frame_id, payload.body)), frame_id, payload.body)
    )


def unpack(data: bytes, limits: PayloadLimits = DEFAULT_LIMITS) -> Payload:
    """Parse a payload; nothing is copied before sizes and checksum are checked.

    Args:
        data: The serialized payload.
        limits: Limits on its size.

    Raises:
        PayloadError: The bytes are no payload of this version, too large, truncated, too long or
            corrupted. No other exception is raised.
    """
    if len(data) > limits.max_bytes:
        raise PayloadError(
            'oversized', f'payload has {len(data)} bytes; the limit is {limits.max_bytes}'
        )
    if data[:4] != MAGIC[: len(data)] or not data:
        raise PayloadError('foreign', f'expected a payload of mt_perception, found {data[:4]!r}')
    if len(data) < _BEFORE_BODY:
        raise PayloadError(
            'truncated', f'payload has {len(data)} bytes; its header alone has {_BEFORE_BODY}'
        )
    _, version, kind, rate, named, digest, *shape, stamp_ns, length = _HEADER.unpack_from(data)
    if version != VERSION:
        raise PayloadError(
            'version',
            f'payload has format {version}, this mt_perception reads {VERSION}; '
            'install the same version on both machines',
        )
    expected = _BEFORE_BODY + named + length
    if len(data) != expected:
        raise PayloadError(
            'truncated' if len(data) < expected else 'corrupted',
            f'payload has {len(data)} bytes; its header says {expected}',
        )
    view = memoryview(data)
    frame_id, body = view[_BEFORE_BODY : _BEFORE_BODY + named], view[_BEFORE_BODY + named :]
    (crc,) = _CRC.unpack_from(data, _HEADER.size)
    if crc != _checksum(view[: _HEADER.size], frame_id, body):
        raise PayloadError('corrupted', 'payload is corrupted: its checksum is wrong')
    if kind not in (SYMBOLS, JPEG, DIFFERENCE):
        raise PayloadError(
            'kind', f'payload is of kind {kind}; known are 0 symbols, 1 JPEG and 2 difference'
        )
    if kind == DIFFERENCE and len(body) <= REFERENCE_BYTES:
        raise PayloadError('truncated', f'a difference has {len(body)} bytes; it needs a code')
    channels, height, width = shape
    if not 0 < channels * height * width <= limits.max_elements:
        raise PayloadError(
            'shape', f'payload has shape {shape}; expected 1 to {limits.max_elements} values'
        )
    return Payload(
        kind,
        rate,
        digest,
        (channels, height, width),
        stamp_ns,
        bytes(frame_id).decode('utf-8', 'replace'),
        bytes(body),
    )


def _checksum(
    header: bytes | memoryview, frame_id: bytes | memoryview, body: bytes | memoryview
) -> int:
    return zlib.crc32(body, zlib.crc32(frame_id, zlib.crc32(header)))
