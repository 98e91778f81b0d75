# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Raw camera images of every encoding of sensor_msgs, checked and converted to BGR.

All sizes are checked against the bytes that are really there before any memory is taken, so a
message that lies about itself costs nothing but its rejection.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import DTypeLike, NDArray

from mt_perception.errors import ImageError

MAX_SIDE = 16384
MAX_PIXELS = 1 << 26
"""Twice 8K UHD: no camera sends more, and depth alone takes four bytes a pixel."""

Buffer: TypeAlias = 'bytes | bytearray | memoryview | array[int] | NDArray[Any]'
Image = NDArray[np.uint8]
_Convert = Callable[[NDArray[Any]], NDArray[Any]]

# The grid on which the brightness range of an image without a nominal range is measured.
_RANGE_SAMPLES = 128


def to_bgr(
    data: Buffer,
    encoding: str,
    height: int,
    width: int,
    step: int,
    is_bigendian: bool = False,
) -> Image:
    """View or convert the pixels of a ``sensor_msgs/Image`` as BGR.

    ``mono16`` and other 16-bit intensities are scaled from their full range. ``16UC1`` and
    ``32FC1`` have no nominal range (thermal, depth): they are stretched between their 1st and
    99th percentile, and what is not finite becomes black.

    Args:
        data: The message's bytes.
        encoding: Name of the pixel format, as in ``sensor_msgs/image_encodings.hpp``.
        height: Rows of pixels.
        width: Columns of pixels.
        step: Bytes from one row to the next; may be more than a row needs.
        is_bigendian: Byte order of 16- and 32-bit channels.

    Returns:
        uint8 (H, W, 3), BGR, C-contiguous, read-only. Packed ``bgr8`` is not copied.

    Raises:
        ImageError: Encoding, sizes or bytes do not fit each other.
    """
    layout = _layout(encoding)
    check_size(height, width)
    if width % layout.even_width or height % layout.even_height:
        raise ImageError(
            'odd_size', f'{encoding} stores pixels in pairs, but the image is {width}x{height}'
        )
    row_bytes, rows = layout.row_bytes(width), layout.rows(height)
    if step < row_bytes:
        raise ImageError(
            'short_step',
            f'a row of {width} {encoding} pixels takes {row_bytes} bytes, but step is {step}',
        )
    view = data.data if isinstance(data, np.ndarray) else memoryview(data)
    if view.nbytes != step * rows:
        short = view.nbytes < step * rows
        raise ImageError(
            'short_data' if short else 'long_data',
            f'{width}x{height} {encoding} with step {step} takes {step * rows} bytes, '
            f'found {view.nbytes}; check the camera driver',
        )
    flat = np.frombuffer(view if view.c_contiguous else view.tobytes(), np.uint8)
    packed = np.ascontiguousarray(flat.reshape(rows, step)[:, :row_bytes])
    dtype = np.dtype(layout.dtype).newbyteorder('>' if is_bigendian else '<')
    pixels = packed.view(dtype).reshape(rows, *layout.pixel_shape(width))
    image: Image = np.ascontiguousarray(layout.convert(pixels))
    image.flags.writeable = False
    return image


def check_size(height: int, width: int) -> None:
    """Refuse an image that is empty, a single pixel, or larger than any camera's.

    Raises:
        ImageError: A side is below 1 or above MAX_SIDE, or there is only one pixel, or more
            than MAX_PIXELS.
    """
    if height < 1 or width < 1:
        raise ImageError('zero_size', f'an image has rows and columns, found {width}x{height}')
    if height == width == 1:
        # Ubuntu 22.04's OpenCV fails on arrays of shape (1, 1, 3).
        raise ImageError('too_small', 'an image has at least two pixels, found one')
    if height > MAX_SIDE or width > MAX_SIDE or height * width > MAX_PIXELS:
        raise ImageError(
            'too_large',
            f'at most {MAX_SIDE} pixels a side and {MAX_PIXELS} in all are taken, '
            f'found {width}x{height}',
        )


@dataclass(frozen=True)
class _Layout:
    """How an encoding lies in memory and what makes BGR of it."""

    dtype: DTypeLike
    channels: int
    convert: _Convert
    even_width: int = 1
    even_height: int = 1
    extra_rows: bool = False

    def row_bytes(self, width: int) -> int:
        return width * self.channels * np.dtype(self.dtype).itemsize

    def rows(self, height: int) -> int:
        return height * 3 // 2 if self.extra_rows else height

    def pixel_shape(self, width: int) -> tuple[int, ...]:
        return (width,) if self.channels == 1 else (width, self.channels)


def _colour(code: int) -> _Convert:
    """A conversion of cv2.cvtColor; 16-bit pixels are scaled to 8 bits first.

    The cast also swaps bytes: cv2 has no notion of byte order, and NumPy 2 dropped
    ``ndarray.newbyteorder``, which cv_bridge relied on.
    """

    def convert(pixels: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(cv2.cvtColor(_to_8_bits(pixels), code))

    return convert


def _to_8_bits(pixels: NDArray[Any]) -> Image:
    if pixels.dtype.itemsize == 1:
        return pixels
    # 65535 = 255 × 257, so this rounds exactly and black and white stay what they are.
    native = pixels.astype(np.uint16)
    scaled = cv2.convertScaleAbs(native, alpha=1 / 257)
    return np.asarray(scaled, np.uint8).reshape(pixels.shape)


def _stretch(pixels: NDArray[Any]) -> NDArray[Any]:
    """Grey levels from the 1st to the 99th percentile, measured on a coarse grid."""
    values = pixels.astype(np.float32)
    step_y, step_x = (max(1, n // _RANGE_SAMPLES) for n in values.shape)
    samples = values[::step_y, ::step_x]
    samples = samples[np.isfinite(samples)]
    low, high = np.percentile(samples, (1, 99)) if samples.size else (0.0, 1.0)
    with np.errstate(over='ignore', invalid='ignore'):
        grey = (values - np.float32(low)) * np.float32(255 / max(high - low, 1e-6))
    grey = np.where(np.isfinite(values), grey, 0).clip(0, 255).round().astype(np.uint8)
    return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))


def _layout(encoding: str) -> _Layout:
    if not encoding:
        raise ImageError(
            'empty_encoding', 'the image has an empty encoding; expected a name such as rgb8'
        )
    if encoding not in _LAYOUTS:
        raise ImageError(
            'unknown_encoding',
            f'encoding {encoding[:40]!r} is not known; known are {", ".join(_LAYOUTS)}',
        )
    return _LAYOUTS[encoding]


# ROS names a Bayer pattern by its first two rows, OpenCV by the second row's last two pixels.
_BAYER = {
    'rggb': cv2.COLOR_BayerBG2BGR,
    'bggr': cv2.COLOR_BayerRG2BGR,
    'gbrg': cv2.COLOR_BayerGR2BGR,
    'grbg': cv2.COLOR_BayerGB2BGR,
}
_GREY = _colour(cv2.COLOR_GRAY2BGR)
_UYVY = _Layout(np.uint8, 2, _colour(cv2.COLOR_YUV2BGR_UYVY), even_width=2)
_YUYV = _Layout(np.uint8, 2, _colour(cv2.COLOR_YUV2BGR_YUY2), even_width=2)

_LAYOUTS: dict[str, _Layout] = {
    'bgr8': _Layout(np.uint8, 3, _to_8_bits),
    'rgb8': _Layout(np.uint8, 3, _colour(cv2.COLOR_RGB2BGR)),
    'bgra8': _Layout(np.uint8, 4, _colour(cv2.COLOR_BGRA2BGR)),
    'rgba8': _Layout(np.uint8, 4, _colour(cv2.COLOR_RGBA2BGR)),
    'bgr16': _Layout(np.uint16, 3, _to_8_bits),
    'rgb16': _Layout(np.uint16, 3, _colour(cv2.COLOR_RGB2BGR)),
    'bgra16': _Layout(np.uint16, 4, _colour(cv2.COLOR_BGRA2BGR)),
    'rgba16': _Layout(np.uint16, 4, _colour(cv2.COLOR_RGBA2BGR)),
    'mono8': _Layout(np.uint8, 1, _GREY),
    'mono16': _Layout(np.uint16, 1, _GREY),
    '8UC1': _Layout(np.uint8, 1, _GREY),
    '8UC3': _Layout(np.uint8, 3, _to_8_bits),
    '8UC4': _Layout(np.uint8, 4, _colour(cv2.COLOR_BGRA2BGR)),
    '16UC1': _Layout(np.uint16, 1, _stretch),
    '32FC1': _Layout(np.float32, 1, _stretch),
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    'nv12': _Layout(np.uint8, 1, _colour(cv2.COLOR_YUV2BGR_NV12), 2, 2, extra_rows=True),
    'nv21': _Layout(np.uint8, 1, _colour(cv2.COLOR_YUV2BGR_NV21), 2, 2, extra_rows=True),
    **{f'bayer_{p}8': _Layout(np.uint8, 1, _colour(code)) for p, code in _BAYER.items()},
    **{f'bayer_{p}16': _Layout(np.uint16, 1, _colour(code)) for p, code in _BAYER.items()},
}

ENCODINGS = tuple(_LAYOUTS)
"""Every encoding that ``to_bgr`` takes."""
