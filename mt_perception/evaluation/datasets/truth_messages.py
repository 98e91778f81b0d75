# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decodes messages with ground truth: depth, label images, boxes and class names."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mt_perception.errors import ImageError, SourceError
from mt_perception.evaluation.datasets.maps import decode_map, metres
from mt_perception.image.encodings import MAX_PIXELS
from mt_perception.image.rvl import decode_rvl

_PNG = b'\x89PNG\r\n\x1a\n'

COMPRESSED_DEPTH_HEADER = struct.Struct('<iff')
"""compressed_depth_image_transport: kind of compression, and two parameters of quantisation."""


def decode_depth(message: Any) -> NDArray[np.float32]:
    """float32 (H, W) metres of an Image (16UC1, mono16, 32FC1) or a compressedDepth.

    A 32FC1 in compressedDepth is stored as 16-bit inverse depth q: z = a / (q − b).

    Raises:
        SourceError: Another encoding, or bytes that do not fit it.
    """
    if hasattr(message, 'encoding'):
        if message.encoding in ('16UC1', 'mono16'):
            return metres(_pixels(message, np.uint16))
        if message.encoding == '32FC1':
            return _pixels(message, np.float32)
        raise SourceError(
            f'depth image with encoding {message.encoding[:40]!r}; expected 16UC1 or 32FC1'
        )
    return _compressed_depth(np.asarray(message.data, np.uint8).tobytes(), message.format)


def _compressed_depth(data: bytes, format_: str) -> NDArray[np.float32]:
    """Metres of a PNG, or of a PNG or RVL behind the header of compressedDepth."""
    a = b = 0.0
    # Some drivers leave the header out.
    if not data.startswith(_PNG):
        if len(data) < COMPRESSED_DEPTH_HEADER.size:
            raise SourceError('compressedDepth message is shorter than its header')
        _, a, b = COMPRESSED_DEPTH_HEADER.unpack_from(data)
        data = data[COMPRESSED_DEPTH_HEADER.size :]
    if format_.rstrip().endswith('rvl'):
        try:
            values: NDArray[Any] = decode_rvl(data)
        except ImageError as error:
            raise SourceError(str(error)) from error
    else:
        values = decode_map(data, 'compressed depth')
    if values.dtype != np.uint16:
        raise SourceError('compressed depth has 8 bits a pixel; expected 16 (millimetres)')
    return _inverse_depth(values, a, b) if format_.startswith('32FC1') else metres(values)


def decode_labels(message: Any) -> NDArray[Any]:
    """(H, W) class ids of an Image (mono8, 8UC1, mono16, 16UC1) or a compressed PNG.

    Raises:
        SourceError: Another encoding, or bytes that do not fit it.
    """
    if not hasattr(message, 'encoding'):
        return decode_map(np.asarray(message.data, np.uint8).tobytes(), 'label image')
    if message.encoding in ('mono8', '8UC1'):
        return _pixels(message, np.uint8)
    if message.encoding in ('mono16', '16UC1'):
        return _pixels(message, np.uint16)
    raise SourceError(f'label image with encoding {message.encoding[:40]!r}; expected mono8')


def decode_label_names(message: Any) -> dict[int, str]:
    """Class id → name of a vision_msgs/LabelInfo."""
    return {int(row.class_id): str(row.class_name) for row in message.class_map}


def decode_boxes(
    message: Any, names: Mapping[int, str]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Boxes float32 (N, 4) x0 y0 x1 y1 and class names of a vision_msgs/Detection2DArray.

    Args:
        message: Of any version of vision_msgs: fields moved between Foxy, Humble and Jazzy.
        names: Names for numeric class ids.
    """
    corners = np.zeros((len(message.detections), 4), np.float32)
    found = []
    for row, detection in zip(corners, message.detections, strict=True):
        centre = getattr(detection.bbox.center, 'position', detection.bbox.center)
        half = np.array([detection.bbox.size_x, detection.bbox.size_y]) / 2
        middle = np.array([centre.x, centre.y])
        row[:2], row[2:] = middle - half, middle + half
        found.append(_class_name(detection, names))
    finite = np.flatnonzero(np.isfinite(corners).all(axis=1))
    return corners[finite], tuple(found[i] for i in finite)


def names_in(messages: Iterable[Any], names: Mapping[int, str]) -> set[str]:
    """All class names in the messages of a topic."""
    return {_class_name(d, names) for message in messages for d in message.detections} - {''}


def _class_name(detection: Any, names: Mapping[int, str]) -> str:
    if not detection.results:
        return ''
    # The standard gives no order: the most probable hypothesis is the class.
    hypothesis = max(
        (getattr(result, 'hypothesis', result) for result in detection.results),
        key=lambda hypothesis: float(getattr(hypothesis, 'score', 0.0)),
    )
    text = str(getattr(hypothesis, 'class_id', getattr(hypothesis, 'id', '')))
    return names.get(int(text), text) if text.isdecimal() else text


def _pixels(message: Any, dtype: DTypeLike) -> NDArray[Any]:
    """(H, W) of an Image with one channel, checked against the bytes that are there."""
    height, width, step = int(message.height), int(message.width), int(message.step)
    item = np.dtype(dtype).itemsize
    data = np.asarray(message.data, np.uint8)
    if not 0 < height * width <= MAX_PIXELS or step < width * item or data.size != step * height:
        raise SourceError(
            f'{width}x{height} {message.encoding} with step {step} and {data.size} bytes: '
            'the sizes do not match'
        )
    rows = np.ascontiguousarray(data.reshape(height, step)[:, : width * item])
    pixels = rows.view(np.dtype(dtype).newbyteorder('>' if message.is_bigendian else '<'))
    return pixels.astype(dtype, copy=False)


def _inverse_depth(values: NDArray[Any], a: float, b: float) -> NDArray[np.float32]:
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = np.float32(a) / (values.astype(np.float32) - np.float32(b))
    depth[values == 0] = np.nan
    return depth
