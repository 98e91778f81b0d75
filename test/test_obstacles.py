# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Obstacles in known scenes: objects on the ground are found, the ground is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt_perception.geometry.obstacles import ObstacleOptions, fit_ground, obstacle_points
from mt_perception.geometry.plane import GroundPlane
from mt_perception.types import UNLABELLED, DepthMap, Intrinsics, Segmentation

CAMERA = Intrinsics(fx=300, fy=300, cx=160, cy=120, width=320, height=240)
IMAGE = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
SKY, GROUND, OBJECT = range(3)
LABELS = ('sky', 'ground', 'object')


def rays() -> np.ndarray:
    v, u = np.mgrid[:240, :320]
    return np.stack([(u - 160) / 300, (v - 120) / 300, np.ones_like(u)], axis=2)


def scene(plane: GroundPlane, far_m: float = 20.0) -> tuple[DepthMap, Segmentation]:
    """Flat ground seen from a camera, and sky of unknown depth."""
    z = plane.height_m / np.maximum(rays() @ np.array(plane.normal), 1e-6)
    seen = z < far_m
    depth = np.where(seen, z, np.nan).astype(np.float32)
    return DepthMap(depth, CAMERA), Segmentation(
        np.where(seen, GROUND, SKY).astype(np.uint8), LABELS
    )


def with_wall(
    depth: DepthMap, segmentation: Segmentation, plane: GroundPlane, z: float, top_m: float
) -> tuple[DepthMap, Segmentation]:
    """A board that faces the camera at a depth, from the ground up, 0.4 m wide."""
    points = rays() * z
    height = plane.height_m - points @ np.array(plane.normal)
    board = (np.abs(points[..., 0]) < 0.2) & (height >= 0) & (height <= top_m)
    changed, ids = depth.depth.copy(), segmentation.class_ids.copy()
    changed[board], ids[board] = z, OBJECT
    return replace(depth, depth=changed), Segmentation(ids, LABELS)


@given(st.floats(0.2, 2), st.floats(0, 40), st.floats(-15, 15))
@settings(max_examples=25)
def test_the_plane_of_the_ground_is_found(height: float, pitch: float, roll: float) -> None:
    plane = GroundPlane.from_angles(height, pitch, roll)
    found = fit_ground(*scene(plane))
    assert found is not None
    assert found.height_m == pytest.approx(height, rel=1e-3)
    np.testing.assert_allclose(found.normal, plane.normal, atol=1e-3)


def test_noise_and_things_that_pass_for_ground_do_not_tilt_the_plane() -> None:
    plane = GroundPlane.from_angles(0.5, 10)
    depth, segmentation = scene(plane)
    rng = np.random.default_rng(0)
    noisy = (depth.depth * rng.normal(1, 0.03, depth.depth.shape)).astype(np.float32)
    noisy[150:, 40:100] *= 0.6  # A fifth of the ground is a box that has its class.
    found = fit_ground(replace(depth, depth=noisy), segmentation)
    assert found is not None
    assert found.height_m == pytest.approx(0.5, rel=0.03)
    np.testing.assert_allclose(found.normal, plane.normal, atol=0.02)


def test_there_is_no_plane_where_there_is_no_ground() -> None:
    depth, segmentation = scene(GroundPlane.from_angles(0.5, 10))
    rng = np.random.default_rng(0)
    wild = rng.uniform(0.5, 5, depth.depth.shape).astype(np.float32)
    assert fit_ground(replace(depth, depth=wild), segmentation) is None
    none = Segmentation(np.zeros((240, 320), np.uint8), LABELS)
    assert fit_ground(depth, none) is None
    assert fit_ground(depth, Segmentation(segmentation.class_ids, ('a', 'b', 'c'))) is None
    # A ceiling with the wrong class lies above.
    above = DepthMap(depth.depth[::-1].copy(), CAMERA)
    assert fit_ground(above, Segmentation(segmentation.class_ids[::-1].copy(), LABELS)) is None
    # A wall with the wrong class faces the camera.
    wall = DepthMap(np.ones_like(depth.depth), CAMERA)
    everywhere = np.full_like(segmentation.class_ids, LABELS.index('ground'))
    assert fit_ground(wall, Segmentation(everywhere, LABELS)) is None


def test_pixels_of_one_row_determine_no_plane() -> None:
    camera = Intrinsics(fx=600, fy=600, cx=320, cy=240, width=640, height=480)
    depth = np.full((480, 640), np.nan, np.float32)
    ground = Segmentation(np.full((480, 640), GROUND, np.uint8), LABELS)
    depth[336] = 0.5 / 0.16
    assert fit_ground(DepthMap(depth, camera), ground) is None
    depth[432] = 0.5 / 0.32
    found = fit_ground(DepthMap(depth, camera), ground)
    assert found is not None
    assert found.height_m == pytest.approx(0.5, rel=1e-3)


def test_infinite_depth_is_no_ground() -> None:
    depth, segmentation = scene(GroundPlane.from_angles(0.5, 10))
    values = depth.depth.copy()
    values[::7] = np.inf
    found = fit_ground(replace(depth, depth=values), segmentation)
    assert found is not None
    assert found.height_m == pytest.approx(0.5, rel=0.01)


def test_a_board_is_an_obstacle_and_the_ground_is_not() -> None:
    plane = GroundPlane.from_angles(0.5, 5)
    flat = scene(plane)
    assert len(obstacle_points(flat[0], IMAGE, plane, flat[1])) == 0
    # By height alone, without a segmentation, too.
    assert len(obstacle_points(flat[0], IMAGE, plane)) == 0
    depth, segmentation = with_wall(*flat, plane, 2.0, 0.4)
    options = ObstacleOptions(min_height_m=0.1, stride=2, voxel_m=0)
    found = obstacle_points(depth, IMAGE, plane, segmentation, options)
    assert len(found) > 300
    assert (found['z'] == 2).all()
    assert (found['label'] == OBJECT).all()
    assert np.abs(found['x']).max() == pytest.approx(0.2, abs=0.02)
    nx, ny, nz = plane.normal
    height = 0.5 - (nx * found['x'] + ny * found['y'] + nz * found['z'])
    # The pixels of the board's edge may belong to the ground behind.
    assert 0.1 <= height.min() < 0.13
    assert 0.36 < height.max() <= 0.4 + 1e-6


@pytest.mark.parametrize(
    'options',
    [
        ObstacleOptions(min_height_m=0.5),
        ObstacleOptions(max_height_m=0.05, min_height_m=0.01),
        ObstacleOptions(min_range_m=2.1),
        ObstacleOptions(max_range_m=1.9),
        ObstacleOptions(ignored=('object',)),
    ],
    ids=['lower', 'higher', 'nearer', 'farther', 'ignored'],
)
def test_points_out_of_limits_are_no_obstacles(options: ObstacleOptions) -> None:
    plane = GroundPlane.from_angles(0.5, 5)
    depth, segmentation = with_wall(*scene(plane), plane, 2.0, 0.4)
    assert len(obstacle_points(depth, IMAGE, plane, segmentation)) > 5
    found = obstacle_points(depth, IMAGE, plane, segmentation, options)
    assert not (found['z'] == 2).any() or options.max_height_m == 0.05


def test_a_cube_keeps_one_point() -> None:
    plane = GroundPlane.from_angles(0.5, 5)
    depth, segmentation = with_wall(*scene(plane), plane, 2.02, 0.4)
    every = ObstacleOptions(stride=1, voxel_m=0)
    all_points = obstacle_points(depth, IMAGE, plane, segmentation, every)
    found = obstacle_points(depth, IMAGE, plane, segmentation, replace(every, voxel_m=0.05))

    def cells(points: np.ndarray) -> list[tuple[int, ...]]:
        return [tuple(int(np.floor(p[axis] / 0.05)) for axis in 'xyz') for p in points]

    assert len(set(cells(found))) == len(found) < len(all_points) / 10
    assert set(cells(found)) == set(cells(all_points))


@pytest.mark.parametrize('side', [1e-5, 1e-9, 1e-300])
def test_a_tiny_voxel_merges_no_distant_points(side: float) -> None:
    plane = GroundPlane.from_angles(0.5, 5)
    depth, segmentation = with_wall(*scene(plane), plane, 2.02, 0.4)
    every = ObstacleOptions(stride=1, voxel_m=0)
    all_points = obstacle_points(depth, IMAGE, plane, segmentation, every)
    options = replace(every, voxel_m=side)
    found = obstacle_points(depth, IMAGE, plane, segmentation, options)
    assert len(found) == len(all_points)


def test_a_ground_class_at_a_wrong_depth_is_no_obstacle() -> None:
    """Depth errors lift far ground; its class says what it is."""
    plane = GroundPlane.from_angles(0.5, 5)
    depth, segmentation = scene(plane)
    lifted = replace(depth, depth=depth.depth * np.float32(0.6))
    assert len(obstacle_points(lifted, IMAGE, plane)) > 0
    assert len(obstacle_points(lifted, IMAGE, plane, segmentation)) == 0


def test_without_labels_points_are_unlabelled() -> None:
    plane = GroundPlane.from_angles(0.5, 5)
    depth, _ = with_wall(*scene(plane), plane, 2.0, 0.4)
    found = obstacle_points(depth, IMAGE, plane)
    assert len(found)
    assert (found['label'] == UNLABELLED).all()
