# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoding of compressed camera images: JPEG, PNG, WebP, TIFF and other image files."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ImageError
from mt_perception.image.encodings import Buffer, Image, grey_to_bgr, to_bgr
from mt_perception.image.headers import ImageHeader, read_header
from mt_perception.image.orientation import stored

MAX_BYTES = 1 << 28

KINDS = 'JPEG, PNG, WebP, TIFF, BMP, GIF, PNM, AVIF or JPEG 2000'

_PNG = b'\x89PNG\r\n\x1a\n'
_H26X_START = re.compile(rb'\0\0\0?\x01')
_BAYER = re.compile('bayer_(?:rggb|bggr|gbrg|grbg)')
_INTENSITIES = frozenset({'mono16', '16uc1', '32fc1'})


def image_from(message: Any) -> Image:
    """The pixels of a raw or compressed image message as BGR; not copied if they already are.

    Args:
        message: A ``sensor_msgs`` Image or CompressedImage, of ROS or of rosbags.

    Raises:
        ImageError: The message is inconsistent, or its encoding is unknown.
    """
    if hasattr(message, 'format'):
        return decode(message.data, message.format)
    return to_bgr(
        message.data,
        encoding=message.encoding,
        height=message.height,
        width=message.width,
        step=message.step,
        is_bigendian=bool(message.is_bigendian),
    )


def decode(data: Buffer, format_: str = '') -> Image:
    """Decode the bytes of a ``sensor_msgs/CompressedImage``.

    The kind of file is read from the bytes: drivers write anything into the format string
    (``jpeg``, ``jpg``, ``bgr8; jpeg compressed bgr8``, nothing at all). Only an encoding before
    the first semicolon counts, because a file with one channel does not tell a Bayer mosaic or
    a thermal image from a grey one. Pixels stay where the camera recorded them: an EXIF
    orientation is ignored, because the camera's intrinsics refer to the stored grid.

    Args:
        data: An image file.
        format_: The format string of the message.

    Returns:
        uint8 (H, W, 3), BGR.

    Raises:
        ImageError: The bytes are of another kind, truncated, damaged, or declare more pixels or
            work than an image of a camera has.
    """
    return decode_file(data, format_)[0]


def decode_file(data: Buffer, format_: str = '') -> tuple[Image, ImageHeader]:
    """Decode an image file as ``decode`` does, and return its header as well.

    Raises:
        ImageError: As ``decode`` does.
    """
    content = _content(data)
    header = read_header(content)
    if header is None:
        raise _unknown_kind(content, format_)
    encoding = format_.split(';')[0].strip().lower()
    if header.channels == 1 and (header.bits > 8 or _BAYER.match(encoding)):
        return _one_channel(content, header, encoding), header
    image = _imdecode(content, header, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise _undecodable(header)
    return np.asarray(image, np.uint8), header


def _content(data: Buffer) -> bytes:
    view = data.data if isinstance(data, np.ndarray) else memoryview(data)
    if view.nbytes > MAX_BYTES:
        raise ImageError(
            'too_large',
            f'the compressed image has {view.nbytes} bytes; at most {MAX_BYTES} are decoded',
        )
    return view.tobytes()


def _one_channel(content: bytes, header: ImageHeader, encoding: str) -> Image:
    """A Bayer mosaic or an intensity of more than 8 bits, shown as its raw topic would be."""
    pixels = _imdecode(content, header, cv2.IMREAD_UNCHANGED)
    if pixels.ndim != 2:
        raise _undecodable(header)
    bayer = _BAYER.match(encoding)
    if pixels.dtype.kind != 'u' or not (bayer or encoding in _INTENSITIES):
        return grey_to_bgr(pixels)
    if bayer:
        encoding = f'{bayer[0]}{8 * pixels.dtype.itemsize}'
    elif encoding == '32fc1':
        pixels = pixels.astype(np.float32)
    height, width = pixels.shape
    return to_bgr(np.ascontiguousarray(pixels), encoding, height, width, pixels.strides[0])


def _imdecode(content: bytes, header: ImageHeader, flags: int) -> NDArray[Any]:
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise ImageError('undecodable', f'the image cannot be decoded: {error}') from error
    if image is None:
        raise _undecodable(header)
    pixels = np.asarray(image)
    if header.kind == 'TIFF':
        # OpenCV turns a TIFF by its orientation, whatever the flags say.
        pixels = stored(pixels, header.orientation)
    if pixels.shape[:2] != (header.height, header.width):
        raise _undecodable(header)
    return pixels


def _undecodable(header: ImageHeader) -> ImageError:
    return ImageError(
        'undecodable',
        f'the {header.kind} of {header.width}x{header.height} pixels cannot be decoded: it is '
        'damaged, or this OpenCV has no decoder for it (convert it to JPEG or PNG)',
    )


def _unknown_kind(content: bytes, format_: str) -> ImageError:
    quoted = repr(format_[:60])
    if content[12:20] == _PNG or 'compressedDepth' in format_:
        return ImageError(
            'compressed_depth', f'format {quoted} is a depth image; expected a camera image'
        )
    if _H26X_START.match(content):
        return ImageError(
            'video_stream',
            f'format {quoted} is a video stream (H.264 or H.265), whose images need the ones '
            'before them; expected single images: republish the topic as raw or compressed',
        )
    return ImageError(
        'unknown_compression',
        f'expected {KINDS}, found bytes {content[:8].hex(" ") or "(none)"} with format {quoted}',
    )
