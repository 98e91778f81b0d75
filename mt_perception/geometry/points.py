# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A coloured point cloud from a depth map, in the memory layout of PointCloud2."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.geometry.rays import pixel_rays
from mt_perception.types import UNLABELLED, DepthMap, Segmentation

POINT = np.dtype([('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('bgr', 'u1', 3), ('label', 'u1')])
"""One point, 16 bytes: metres in the optical frame (x right, y down, z forward) and its colour.

The last four bytes read as one little-endian number are 0xLLRRGGBB: PointCloud2's ``rgb``, whose
first byte has no meaning there, is the class of the segmentation here, 255 where there is none.
"""

LABEL_OFFSET = 15
"""Byte of a point that is its label."""

# An upsampled depth map interpolates between an object and its background, which would give points
# in empty space. Neighbours on a surface at a grazing angle differ by less than this.
_MAX_SLOPE = 0.03


def point_cloud(
    depth: DepthMap,
    image: NDArray[np.uint8],
    stride: int = 1,
    segmentation: Segmentation | None = None,
) -> NDArray[Any]:
    """Back-project every pixel.

    A pixel (u, v) at depth z lies at ((u - cx) z / fx, (v - cy) z / fy, z), or on its ray through
    the lens.

    Args:
        depth: The depth map and its camera.
        image: uint8 (H, W, 3) BGR of the same size.
        stride: Step in rows and columns.
        segmentation: The segmentation of the same image; None leaves the points without labels.

    Returns:
        POINT (ceil(H / stride), ceil(W / stride)), organised as the image; x, y and z are NaN
        where the depth is unknown or the pixel lies on a depth edge.
    """
    camera = depth.intrinsics
    z = surface_depth(depth, stride)
    x, y = pixel_rays(camera, stride)
    points = np.zeros(z.shape, POINT)
    points['x'] = z * x
    points['y'] = z * y
    points['z'] = np.where(np.isnan(x), np.nan, z) if camera.distortion else z
    points['bgr'] = image[::stride, ::stride]
    points['label'] = UNLABELLED
    if segmentation is not None:
        points['label'] = segmentation.class_ids[::stride, ::stride]
    return points


def surface_depth(depth: DepthMap, stride: int = 1) -> NDArray[np.float32]:
    """The depth of every n-th pixel of every n-th row, float32; NaN on depth edges, too."""
    z = depth.depth[::stride, ::stride].astype(np.float32)
    z[_on_edge(depth.depth, stride)] = np.nan
    return z


def _on_edge(depth: NDArray[np.float32], stride: int) -> NDArray[np.bool_]:
    """Pixels of a grid whose depth differs too much from a neighbour's, relative to their own."""
    own = depth[::stride, ::stride]
    edge = np.zeros(own.shape, np.bool_)
    limit = own * np.float32(_MAX_SLOPE)
    # Neighbours in a column, then in a row: those before (from the second on) and after.
    for grid, marked, most, lines in (
        (own, edge, limit, depth[:, ::stride]),
        (own.T, edge.T, limit.T, depth[::stride].T),
    ):
        before, after = lines[stride - 1 :: stride], lines[1::stride]
        marked[1:] |= np.abs(grid[1:] - before[: len(grid) - 1]) > most[1:]
        marked[: len(after)] |= np.abs(after - grid[: len(after)]) > most[: len(after)]
    return edge
