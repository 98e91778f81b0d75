# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Raw camera images of every encoding of sensor_msgs, checked and converted to BGR.

All sizes are compared with the length of the data before any memory is allocated, so a message
with wrong sizes costs nothing but its rejection.
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
"""Twice 8K UHD, more than any camera; a depth map takes four bytes a pixel."""

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

    16-bit channels are scaled from their full range. Channels without a nominal range (``16UC1``
    and ``32FC1``: thermal, depth; signed ones) are stretched between their 1st and 99th
    percentile; colours of floating point range from 0 to 1, or to 255 where a value is above 1.
    Values that are not finite become black.

    Args:
        data: The message's bytes.
        encoding: Name of the pixel format, as in ``sensor_msgs/image_encodings.hpp``; upper and
            lower case are the same.
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


def check_image(image: object) -> None:
    """Check that an image is uint8 (H, W, 3), BGR, of a size that a camera has.

    Raises:
        ImageError: It is not.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(
            'wrong_type',
            f'expected a uint8 image (H, W, 3), BGR, found {type(image).__name__}; cv2.imread '
            'returns None for a file that it cannot read',
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ImageError(
            'wrong_type',
            f'expected a uint8 image (H, W, 3), BGR, found {image.dtype} {image.shape}; '
            'convert it with mt_perception.image.encodings',
        )
    check_size(*image.shape[:2])


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


def grey_to_bgr(pixels: NDArray[Any]) -> Image:
    """Show an intensity image whose encoding is unknown, as a file has it.

    Args:
        pixels: (H, W) of any numeric type. 16-bit values that use less than an eighth of their
            range (thermal cameras, 12-bit sensors) and all other types but 8 bits are stretched
            between their 1st and 99th percentile.

    Returns:
        uint8 (H, W, 3), BGR.
    """
    if pixels.dtype == np.uint8:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), np.uint8)
    low, high = _range(pixels)
    if pixels.dtype == np.uint16 and high - low >= 1 << 13:
        return np.asarray(cv2.cvtColor(_to_8_bits(pixels), cv2.COLOR_GRAY2BGR), np.uint8)
    return np.asarray(_stretch(pixels), np.uint8)


@dataclass(frozen=True)
class _Layout:
    """Memory layout of an encoding and its conversion to BGR.

    ``half_rows`` is the number of rows of bytes for two rows of pixels: 2, more with chroma
    planes below the luma plane.
    """

    dtype: DTypeLike
    channels: int
    convert: _Convert
    even_width: int = 1
    even_height: int = 1
    half_rows: int = 2

    def row_bytes(self, width: int) -> int:
        return width * self.channels * np.dtype(self.dtype).itemsize

    def rows(self, height: int) -> int:
        return height * self.half_rows // 2

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


def _range(values: NDArray[Any]) -> tuple[float, float]:
    """The 1st and 99th percentile of the finite values, measured on a coarse grid."""
    step_y, step_x = (max(1, n // _RANGE_SAMPLES) for n in values.shape[:2])
    samples = values[::step_y, ::step_x].astype(np.float64)
    samples = samples[np.isfinite(samples)]
    if not samples.size:
        return 0.0, 1.0
    low, high = np.percentile(samples, (1, 99))
    return float(low), float(high)


def _scale(values: NDArray[Any], low: float, high: float) -> Image:
    """Map [low, high] to [0, 255]."""
    wide = np.dtype(np.float64 if values.dtype.itemsize > 4 else np.float32)
    with np.errstate(over='ignore', invalid='ignore'):
        grey: NDArray[Any] = values.astype(wide) - wide.type(low)
        grey *= wide.type(255 / max(high - low, 1e-6))
    return np.where(np.isfinite(values), grey, 0).clip(0, 255).round().astype(np.uint8)


def _stretch(pixels: NDArray[Any]) -> NDArray[Any]:
    scaled = _scale(pixels, *_range(pixels))
    return np.asarray(cv2.cvtColor(scaled, cv2.COLOR_GRAY2BGR)) if scaled.ndim == 2 else scaled


def _float_colour(pixels: NDArray[Any]) -> NDArray[Any]:
    _, high = _range(pixels)
    return _scale(pixels, 0.0, 255.0 if high > 1.0 + 1e-3 else 1.0)


def _first_three(convert: _Convert) -> _Convert:
    """A conversion of three channels, for pixels with a fourth that is dropped."""
    return lambda pixels: convert(np.ascontiguousarray(pixels[..., :3]))


# BT.601 in limited range, as OpenCV converts the formats with shared chroma.
_YUV_TO_BGR = np.array(
    [
        [1.164, 2.018, 0.0, -1.164 * 16 - 2.018 * 128],
        [1.164, -0.391, -0.813, -1.164 * 16 + (0.391 + 0.813) * 128],
        [1.164, 0.0, 1.596, -1.164 * 16 - 1.596 * 128],
    ]
)


def _nv24(planes: NDArray[Any]) -> NDArray[Any]:
    """Luma rows, then as many rows of interleaved U and V, two bytes a pixel."""
    height, width = planes.shape[0] // 3, planes.shape[1]
    chroma = planes[height:].reshape(height, width, 2)
    return np.asarray(cv2.transform(np.dstack([planes[:height], chroma]), _YUV_TO_BGR))


def _layout(encoding: str) -> _Layout:
    layout = _LAYOUTS.get(encoding) or _BY_LOWER_CASE.get(encoding.strip().lower())
    if layout is not None:
        return layout
    if not encoding.strip():
        raise ImageError(
            'empty_encoding', 'the image has an empty encoding; expected a name such as rgb8'
        )
    raise ImageError(
        'unknown_encoding',
        f'encoding {encoding[:40]!r} is not known; known are {", ".join(_LAYOUTS)}',
    )


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

_I420 = _Layout(np.uint8, 1, _colour(cv2.COLOR_YUV2BGR_I420), 2, 2, half_rows=3)
_SIGNED = [np.dtype(kind) for kind in (np.int8, np.int16, np.int32)]

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
    '16UC3': _Layout(np.uint16, 3, _to_8_bits),
    '16UC4': _Layout(np.uint16, 4, _colour(cv2.COLOR_BGRA2BGR)),
    '32FC1': _Layout(np.float32, 1, _stretch),
    '32FC3': _Layout(np.float32, 3, _float_colour),
    '32FC4': _Layout(np.float32, 4, _first_three(_float_colour)),
    '64FC1': _Layout(np.float64, 1, _stretch),
    '64FC3': _Layout(np.float64, 3, _float_colour),
    '64FC4': _Layout(np.float64, 4, _first_three(_float_colour)),
    **{f'{8 * d.itemsize}SC1': _Layout(d, 1, _stretch) for d in _SIGNED},
    **{f'{8 * d.itemsize}SC3': _Layout(d, 3, _stretch) for d in _SIGNED},
    **{f'{8 * d.itemsize}SC4': _Layout(d, 4, _first_three(_stretch)) for d in _SIGNED},
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    'i420': _I420,
    'yuv420': _I420,
    'yuv420p': _I420,
    'yv12': _Layout(np.uint8, 1, _colour(cv2.COLOR_YUV2BGR_YV12), 2, 2, half_rows=3),
    'nv12': _Layout(np.uint8, 1, _colour(cv2.COLOR_YUV2BGR_NV12), 2, 2, half_rows=3),
    'nv21': _Layout(np.uint8, 1, _colour(cv2.COLOR_YUV2BGR_NV21), 2, 2, half_rows=3),
    'nv24': _Layout(np.uint8, 1, _nv24, half_rows=6),
    **{f'bayer_{p}8': _Layout(np.uint8, 1, _colour(code)) for p, code in _BAYER.items()},
    **{f'bayer_{p}16': _Layout(np.uint16, 1, _colour(code)) for p, code in _BAYER.items()},
}

_BY_LOWER_CASE = {name.lower(): layout for name, layout in _LAYOUTS.items()}

ENCODINGS = tuple(_LAYOUTS)
"""Every encoding that ``to_bgr`` converts."""
