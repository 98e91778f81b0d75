# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Letterbox: scales an image into the network's input, and maps the outputs back to the image.

The image keeps its aspect ratio and lies in the upper left corner; padding reaches to the next
multiple of the network's stride. Coordinates are continuous: pixel i covers [i, i + 1), so boxes
scale without offsets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.image.pyramid import ImagePyramid, resized


@dataclass(frozen=True)
class Letterbox:
    """The mapping of one image size to one network size; sizes are (height, width) in pixels.

    Attributes:
        image_size: The input image.
        content_size: The scaled image, in the upper left corner of the network's input.
        network_size: The network's input, multiples of its stride.
    """

    image_size: tuple[int, int]
    content_size: tuple[int, int]
    network_size: tuple[int, int]

    @property
    def scale_x(self) -> float:
        """Network pixels per image pixel along a row."""
        return self.content_size[1] / self.image_size[1]

    @property
    def scale_y(self) -> float:
        """Network pixels per image pixel along a column."""
        return self.content_size[0] / self.image_size[0]

    def network_image(
        self, image: NDArray[np.uint8] | ImagePyramid, pad_value: int
    ) -> NDArray[np.uint8]:
        """Scale and pad an image.

        Args:
            image: uint8 (H, W, 3) of ``image_size``; is not changed.
            pad_value: Grey level of the border.

        Returns:
            uint8 (1, h, w, 3) of ``network_size``, C-contiguous; the image itself if it fits.
        """
        pixels = image.image if isinstance(image, ImagePyramid) else image
        if self.image_size == self.network_size and pixels.flags.c_contiguous:
            return pixels[None]
        canvas = np.full((1, *self.network_size, 3), pad_value, np.uint8)
        height, width = self.content_size
        content = canvas[0, :height, :width]
        if self.content_size == self.image_size:
            content[:] = pixels
        else:
            content[:] = resized(image, height, width)
        return canvas

    def boxes_to_image(self, boxes: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Map boxes (N, 4), x0 y0 x1 y1, from network to image pixels and clip them to it."""
        height, width = self.image_size
        scale = np.array([self.scale_x, self.scale_y] * 2)
        limit = np.array([width, height] * 2)
        return np.asarray(np.clip(boxes / scale, 0, limit), np.float32)

    def map_to_image(self, values: NDArray[Any], interpolation: int) -> NDArray[Any]:
        """Map values over the network's input to the image: crop the padding, then resize.

        Where the edge of the content falls inside a cell of the map, the cell is kept and its
        part beyond the image is cut off after resizing.

        Args:
            values: (h, w) over the whole network input, at any stride.
            interpolation: A cv2.INTER_* code.

        Returns:
            (H, W) of ``image_size``, of the same dtype.
        """
        height, width = self.image_size
        (map_rows, map_columns), (net_rows, net_columns) = values.shape, self.network_size
        rows = -(-self.content_size[0] * map_rows // net_rows)
        columns = -(-self.content_size[1] * map_columns // net_columns)
        # The image pixels that these cells cover.
        covered = (
            max(width, round(columns * net_columns / map_columns / self.scale_x)),
            max(height, round(rows * net_rows / map_rows / self.scale_y)),
        )
        resized = cv2.resize(values[:rows, :columns], covered, interpolation=interpolation)
        return np.asarray(resized)[:height, :width]


def fit_inside(image_size: tuple[int, int], network_size: tuple[int, int]) -> Letterbox:
    """The letterbox of an image in a network input of one fixed (height, width)."""
    scale = min(network_size[0] / image_size[0], network_size[1] / image_size[1])
    height, width = (
        min(limit, max(1, round(side * scale)))
        for side, limit in zip(image_size, network_size, strict=True)
    )
    return Letterbox(image_size, (height, width), network_size)


def fit(
    image_size: tuple[int, int], long_side: int, multiple: int, slack: float = 0.0
) -> Letterbox:
    """The letterbox that scales an image's long side to the network's.

    Args:
        image_size: (height, width) of the image.
        long_side: Long side of the network's input, a multiple of ``multiple``.
        multiple: Height and width of the network's input are multiples of this.
        slack: Largest further reduction, as a fraction, that saves a nearly empty multiple on the
            short side.
    """
    scale = long_side / max(image_size)
    short = min(image_size) * scale
    fewer = short // multiple * multiple
    if 0 < fewer < short <= fewer / (1 - slack):
        scale *= fewer / short
    height, width = (max(1, round(side * scale)) for side in image_size)
    return Letterbox(
        image_size=image_size,
        content_size=(height, width),
        network_size=(-(-height // multiple) * multiple, -(-width // multiple) * multiple),
    )
