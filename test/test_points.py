# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Point clouds: a plane stays a plane, and no point hangs in the air behind an edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.geometry.points import POINT, point_cloud
from mt_perception.types import UNLABELLED, DepthMap, Intrinsics, Segmentation

CAMERA = Intrinsics(fx=60, fy=66, cx=30.5, cy=21.0, width=64, height=48)
IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def plane_depth(normal: tuple[float, float, float], offset: float) -> np.ndarray:
    """Depth of the plane normal · p = offset along every pixel's ray, worked out from rays."""
    v, u = np.mgrid[:48, :64]
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones_like(u)], 2)
    return (offset / (rays @ np.array(normal))).astype(np.float32)


@given(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4), st.floats(0.5, 20), st.integers(1, 5))
def test_a_plane_is_a_plane(a: float, b: float, offset: float, stride: int) -> None:
    depth = plane_depth((a, b, 1), offset)
    points = point_cloud(DepthMap(depth, CAMERA), IMAGE, stride)
    seen = np.isfinite(points['z'])
    assert seen.mean() > 0.9
    error = a * points['x'] + b * points['y'] + points['z'] - offset
    assert np.abs(error[seen]).max() < 1e-4 * offset


def test_axes_are_those_of_an_optical_frame() -> None:
    points = point_cloud(DepthMap(np.full((48, 64), 2, np.float32), CAMERA), IMAGE)
    assert (np.diff(points['x'], axis=1) > 0).all()
    assert (np.diff(points['y'], axis=0) > 0).all()
    assert points['x'][0, 0] == pytest.approx(-30.5 * 2 / 60)
    assert points['y'][0, 0] == pytest.approx(-21 * 2 / 66)
    assert (points['z'] == 2).all()


def test_layout_is_what_point_cloud_2_carries() -> None:
    points = point_cloud(DepthMap(np.full((48, 64), 2, np.float32), CAMERA), IMAGE, stride=3)
    assert points.shape == (16, 22)
    assert POINT.itemsize == 16
    packed = np.frombuffer(points.tobytes(), '<u4').reshape(16, 22, 4)[..., 3]
    blue, green, red = (int(c) for c in IMAGE[3, 6])
    assert packed[1, 2] == UNLABELLED << 24 | red << 16 | green << 8 | blue


def test_labels_are_those_of_the_pixels() -> None:
    depth = DepthMap(np.full((48, 64), 2, np.float32), CAMERA)
    ids = np.random.default_rng(1).integers(0, 9, (48, 64), np.uint8)
    labels = tuple('abcdefghi')
    points = point_cloud(depth, IMAGE, 3, Segmentation(ids, labels))
    np.testing.assert_array_equal(points['label'], ids[::3, ::3])


@given(st.integers(1, 9), st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_a_coarse_cloud_has_the_edges_of_the_full_one(
    stride: int, height: int, width: int, seed: int
) -> None:
    camera = Intrinsics(60, 60, width / 2, height / 2, width, height)
    steps = np.random.default_rng(seed).normal(0, 0.03, (height, width))
    depth = DepthMap((2 + np.cumsum(steps, axis=1)).astype(np.float32), camera)
    image = np.zeros((height, width, 3), np.uint8)
    full = point_cloud(depth, image)
    coarse = point_cloud(depth, image, stride)
    np.testing.assert_array_equal(coarse['z'], full['z'][::stride, ::stride])


def test_unknown_depth_has_no_point() -> None:
    depth = np.full((48, 64), 2, np.float32)
    depth[10, 20] = np.nan
    points = point_cloud(DepthMap(depth, CAMERA), IMAGE)
    for axis in 'xyz':
        assert np.flatnonzero(np.isnan(points[axis])).tolist() == [10 * 64 + 20]


def test_the_slope_between_a_thing_and_its_background_is_left_out() -> None:
    depth = np.full((48, 64), 4, np.float32)
    depth[:, 20:30] = 1
    depth[:, 18:20] = 3, 2
    points = point_cloud(DepthMap(depth, CAMERA), IMAGE)
    assert set(np.unique(points['z'][np.isfinite(points['z'])])) == {1, 4}
    assert np.isfinite(points['z'][:, 21:29]).all()
