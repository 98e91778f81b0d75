# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Optical flow between two images, and warping of results from one image to the other."""

from __future__ import annotations

from functools import cached_property, lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.image.pyramid import ImagePyramid

FLOW_SIDE = 240
"""Long side of the grey images between which flow is computed, in pixels."""

_SAMPLES = 8
"""Samples of the flow along each side of a box."""

_LEAST_SIDE = 16
"""Shorter side of the smallest image for which flow is computed; below it the flow is zero."""


def to_flow_image(
    image: NDArray[np.uint8] | ImagePyramid, side: int = FLOW_SIDE
) -> NDArray[np.uint8]:
    """The reduced image for optical flow; free of aliasing, which would look like motion.

    Args:
        image: uint8 (H, W, 3), BGR.
        side: Long side of the reduced image in pixels.

    Returns:
        uint8 (h, w), grey.
    """
    pyramid = image if isinstance(image, ImagePyramid) else ImagePyramid(image)
    height, width = pyramid.image.shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    grey = pyramid.grey_for(size[1], size[0])
    if grey.shape != size[::-1]:
        grey = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    return grey


class FlowSearch:
    """Dense inverse search (Kroeger et al., ECCV 2016) of OpenCV, with its memory.

    For images of one size; one thread at a time.

    Args:
        finest: The flow is computed at 1 / 2^finest of the size of the images and enlarged.
    """

    def __init__(self, finest: int = 2) -> None:
        # Not in OpenCV's own type stubs by the name that every OpenCV 4 has.
        create: Any = vars(cv2)['DISOpticalFlow_create']
        self._search = create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._search.setFinestScale(finest)

    def flow(self, image: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(h, w, 2): displacement from each pixel of an image to its position in the other one."""
        if min(image.shape) < _LEAST_SIDE:
            return np.zeros((*image.shape, 2), np.float32)
        return np.asarray(self._search.calc(image, other, None), np.float32)


class OpticalFlow:
    """Dense flow between an earlier and a later image of the same size.

    Args:
        before: uint8 (h, w), the earlier image.
        after: uint8 (h, w), the later one.
        search: The search of a sequence of images, which allocates less; None makes one.

    Attributes:
        backward: float32 (h, w, 2): displacement (x, y) from each pixel of the later image to its
            position in the earlier one.
    """

    def __init__(
        self,
        before: NDArray[np.uint8],
        after: NDArray[np.uint8],
        search: FlowSearch | None = None,
    ) -> None:
        self._before, self._after, self._search = before, after, search
        self._cached: dict[tuple[tuple[int, int], int], NDArray[np.float32]] = {}

    @cached_property
    def backward(self) -> NDArray[np.float32]:
        """Displacement from each pixel of the later image to its earlier position."""
        search = FlowSearch() if self._search is None else self._search
        return search.flow(self._after, self._before)

    def warp_map(self, values: NDArray[Any]) -> NDArray[Any]:
        """Warp a map from the earlier image to the later one, without interpolation.

        Args:
            values: (H, W) of any size, of a type that cv2.remap takes.

        Returns:
            (H, W), of the same type; areas that came into view take the nearest value.
        """
        size = (values.shape[0], values.shape[1])
        nothing: Any = None
        warped = cv2.remap(
            values,
            self._positions(size, 2),
            nothing,
            cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_REPLICATE,
        )
        return np.asarray(warped if warped.shape[:2] == size else _doubled(warped, size))

    def interpolate_map(self, values: NDArray[Any]) -> NDArray[Any]:
        """Warp a map from the earlier image to the later one with bilinear interpolation.

        Args:
            values: (H, W) or (H, W, channels) of any size, uint8 or float32.

        Returns:
            Of the same shape and type; areas that came into view take the nearest value.
        """
        positions = self._positions((values.shape[0], values.shape[1]), 1)
        nothing: Any = None
        warped = cv2.remap(
            values, positions, nothing, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(warped)

    def warp_boxes(
        self, boxes: NDArray[np.float32], image_size: tuple[int, int]
    ) -> NDArray[np.float32]:
        """Shift boxes of the earlier image to the position of their contents in the later one.

        A box around a person is half background, so the shift is the mean of the faster half of
        the flow in the box. It is the backward flow at the earlier position, reversed: as accurate
        as the flow in the other direction (measured on video), which would be computed for it.

        Args:
            boxes: (N, 4) x0 y0 x1 y1 in pixels of the image.
            image_size: (height, width) of the image.

        Returns:
            (N, 4), clipped to the image; a box outside of it has zero width or height.
        """
        height, width = image_size
        rows, columns = self.backward.shape[:2]
        scale = np.array([width / columns, height / rows], np.float32)
        steps = (np.arange(_SAMPLES, dtype=np.float32) + 0.5) / _SAMPLES
        sides = (boxes[:, 2:] - boxes[:, :2])[:, None]
        places = (boxes[:, None, :2] + sides * steps[:, None]) / scale
        x = np.clip(places[..., 0].astype(np.intp), 0, columns - 1)
        y = np.clip(places[..., 1].astype(np.intp), 0, rows - 1)
        motions = -self.backward[y[:, :, None], x[:, None, :]].reshape(len(boxes), _SAMPLES**2, 2)
        speed = np.hypot(motions[..., 0], motions[..., 1])
        faster = np.argsort(speed, axis=1, kind='stable')[:, _SAMPLES**2 // 2 :, None]
        way = np.take_along_axis(motions, faster, axis=1).mean(axis=1) * scale
        limit = np.array([width, height] * 2, np.float32)
        return np.asarray(np.clip(boxes + np.tile(way, 2), 0, limit), np.float32)

    def _positions(self, size: tuple[int, int], coarsest: int) -> NDArray[np.float32]:
        key = size, coarsest
        if key not in self._cached:
            self._cached[key] = _positions(self.backward, size, coarsest)
        return self._cached[key]


def _positions(
    flow: NDArray[np.float32], size: tuple[int, int], coarsest: int
) -> NDArray[np.float32]:
    """(h, w, 2): the earlier position (x, y) of each cell of a map of (height, width).

    A cell is one pixel, or with ``coarsest`` 2, 2 × 2 pixels of a map of at least twice the size
    of the flow: results of a network have at most this resolution, and a quarter of the cells
    takes a third of the time.
    """
    height, width = size
    ratio = min(height / flow.shape[0], width / flow.shape[1])
    step = coarsest if ratio >= coarsest else 1
    if size == flow.shape[:2] and step == 1:
        return flow + _grid(size, 1)
    # Scaled before it is large, in whole rows: a product along an axis of two is slow.
    factors = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    scaled = (flow.reshape(len(flow), -1) * np.tile(factors, flow.shape[1])).reshape(flow.shape)
    cells = (-(-width // step), -(-height // step))
    places = cv2.resize(scaled, cells, interpolation=cv2.INTER_LINEAR) + _grid(size, step)
    return np.asarray(places, np.float32)


def _doubled(cells: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Repeat cells in rows and columns to a map of (height, width), 2 x 2 pixels for each cell.

    cv2.resize takes six times as long.
    """
    rows = cv2.merge([cells, cells]).reshape(len(cells), -1)
    doubled = np.empty((len(cells), 2, rows.shape[1]), cells.dtype)
    doubled[:, 0] = doubled[:, 1] = rows
    return np.ascontiguousarray(doubled.reshape(-1, rows.shape[1])[: size[0], : size[1]])


@lru_cache(maxsize=4)
def _grid(size: tuple[int, int], step: int) -> NDArray[np.float32]:
    """Position (x, y) of every cell's upper left pixel in an image of (height, width)."""
    rows, columns = np.indices((-(-size[0] // step), -(-size[1] // step)), np.float32) * step
    return np.stack([columns, rows], axis=-1)
