# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The one reader of image files, for sources, evaluation and training."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mt_perception.errors import ImageError
from mt_perception.image.compressed import MAX_BYTES, decode_file
from mt_perception.image.encodings import Image
from mt_perception.image.orientation import upright

IMAGE_SUFFIXES = frozenset(
    {
        *('.jpg', '.jpeg', '.jpe', '.jfif', '.png', '.webp', '.avif', '.bmp', '.gif'),
        *('.tif', '.tiff', '.pbm', '.pgm', '.ppm', '.pnm', '.jp2'),
    }
)
"""Suffixes of image files, lower case."""


def read_image(path: Path, size: tuple[int, int] | None = None) -> Image:
    """Read an image file upright, as its EXIF orientation demands.

    Args:
        path: The file.
        size: (height, width) that annotations state. Where only the stored pixel grid has this
            size and the upright image does not, the annotations were made without EXIF and the
            stored grid is returned.

    Returns:
        uint8 (H, W, 3), BGR.

    Raises:
        ImageError: The file cannot be read (``unreadable_file``), is no image, is damaged, or
            declares more pixels or work than an image of a camera has.
    """
    try:
        length = path.stat().st_size
        if length > MAX_BYTES:
            raise ImageError(
                'too_large', f'{path} has {length} bytes; at most {MAX_BYTES} are read'
            )
        content = path.read_bytes()
    except OSError as error:
        raise ImageError('unreadable_file', f'{path} cannot be read: {error.strerror}') from error
    try:
        image, header = decode_file(content)
    except ImageError as error:
        raise ImageError(error.reason, f'{path}: {error}') from error
    turned = upright(image, header.orientation)
    if size is not None and turned.shape[:2] != size and image.shape[:2] == size:
        return image
    return np.asarray(turned, np.uint8)
