# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Boxes in 3-D against scenes whose objects have known positions and sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt_perception.geometry.boxes3d import Boxes3D, boxes3d
from mt_perception.types import FISHEYE, DepthMap, Detections, Intrinsics, Segmentation

CAMERA = Intrinsics(500.0, 520.0, 319.5, 239.5, 640, 480)
LABELS = ('person', 'cup')


def project(center: tuple[float, float, float], size: tuple[float, float]) -> list[float]:
    """The image of a flat object that faces the camera."""
    x, y, z = center
    u, v = CAMERA.cx + x * CAMERA.fx / z, CAMERA.cy + y * CAMERA.fy / z
    w, h = size[0] * CAMERA.fx / z, size[1] * CAMERA.fy / z
    return [u - w / 2, v - h / 2, u + w / 2, v + h / 2]


def scene(
    center: tuple[float, float, float], size: tuple[float, float], background: float = 8.0
) -> tuple[Detections, DepthMap]:
    box = project(center, size)
    depth = np.full((480, 640), background, np.float32)
    x0, y0, x1, y1 = (round(value) for value in box)
    depth[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = center[2]
    found = Detections(
        np.array([box], np.float32), np.array([0.9], np.float32), np.array([0]), LABELS
    )
    return found, DepthMap(depth, CAMERA)


def only(found: Boxes3D) -> tuple[np.ndarray, np.ndarray]:
    assert found.indices.tolist() == [0]
    return found.centers[0], found.sizes[0]


@settings(max_examples=60, deadline=None)
@given(
    x=st.floats(-0.6, 0.6),
    y=st.floats(-0.4, 0.4),
    z=st.floats(1.0, 6.0),
    width=st.floats(0.2, 0.6),
    height=st.floats(0.2, 0.6),
)
def test_a_flat_object_is_found_where_it_is(
    x: float, y: float, z: float, width: float, height: float
) -> None:
    center, size = only(boxes3d(*scene((x, y, z), (width, height))))
    assert center == pytest.approx((x, y, z), abs=0.02)
    assert size == pytest.approx((width, height, 0.0), abs=0.02)


def test_background_inside_the_box_does_not_move_the_object() -> None:
    """A thin cross: most of its box is background, which only the segmentation tells."""
    detections, depth = scene((0.0, 0.0, 2.0), (0.8, 0.8))
    x0, y0, x1, y1 = (round(value) for value in detections.boxes[0].tolist())
    mask = np.zeros((480, 640), np.bool_)
    mask[y0:y1, x0 : x0 + 60] = True
    depth.depth[y0:y1, x0:x1] = 8.0
    depth.depth[mask] = 2.0
    class_ids = np.where(mask, 1, 0).astype(np.uint8)
    segmentation = Segmentation(class_ids, ('wall', 'person'))
    center, size = only(boxes3d(detections, depth, segmentation))
    assert center[2] == pytest.approx(2.0, abs=0.01)
    assert size[:2] == pytest.approx((0.8, 0.8), abs=0.02)
    other = replace(segmentation, labels=('wall', 'cup'))
    assert only(boxes3d(detections, depth, other))[0][2] == pytest.approx(8.0, abs=0.01)


def test_outliers_of_depth_do_not_move_the_object() -> None:
    detections, depth = scene((0.2, 0.1, 3.0), (0.5, 0.5))
    rng = np.random.default_rng(0)
    noise = rng.random((480, 640))
    depth.depth[noise < 0.2] = np.nan
    depth.depth[noise > 0.8] = 7.0
    center, size = only(boxes3d(detections, depth))
    assert center == pytest.approx((0.2, 0.1, 3.0), abs=0.02)
    assert size[2] == pytest.approx(0.0, abs=0.01)


def test_the_extent_along_z_is_that_of_the_visible_surface() -> None:
    detections, depth = scene((0.0, 0.0, 3.0), (0.6, 0.6))
    x0, _, x1, _ = (round(value) for value in detections.boxes[0].tolist())
    depth.depth[:, x0:x1] = np.linspace(2.8, 3.2, x1 - x0, dtype=np.float32)
    segmentation = Segmentation(np.zeros((480, 640), np.uint8), LABELS)
    center, size = only(boxes3d(detections, depth, segmentation))
    assert center[2] == pytest.approx(3.0, abs=0.02)
    # Between the 10th and the 90th percentile.
    assert size[2] == pytest.approx(0.8 * 0.4, abs=0.03)


def test_no_box_without_a_known_depth() -> None:
    detections, depth = scene((0.0, 0.0, 2.0), (0.5, 0.5))
    both = Detections(
        np.concatenate([[[2, 2, 60, 60]], detections.boxes]).astype(np.float32),
        np.array([0.9, 0.8], np.float32),
        np.array([1, 0]),
        LABELS,
    )
    depth.depth[:80, :80] = np.nan
    assert boxes3d(both, depth).indices.tolist() == [1]
    assert not len(boxes3d(detections, replace(depth, relative=True)).indices)
    fisheye = replace(depth, intrinsics=replace(CAMERA, projection=FISHEYE))
    assert not len(boxes3d(detections, fisheye).indices)
    empty = boxes3d(detections[:0], depth)
    assert empty.centers.shape == empty.sizes.shape == (0, 3)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(-50, 700)] * 4), max_size=5),
    st.sampled_from([np.nan, 0.0, -1.0, np.inf, 3.0]),
)
def test_no_box_or_depth_is_too_strange(corners: list[tuple[float, ...]], depth: float) -> None:
    boxes = np.array(corners, np.float32).reshape(-1, 4)
    found = Detections(
        boxes, np.ones(len(boxes), np.float32), np.zeros(len(boxes), np.int64), LABELS
    )
    made = boxes3d(found, DepthMap(np.full((480, 640), depth, np.float32), CAMERA))
    assert np.isfinite(made.centers).all()
    assert np.isfinite(made.sizes).all()
