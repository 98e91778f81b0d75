# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground is found where it is, and nowhere where there is none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mt_perception.training.data.plane_segmentation import ground_mask, room_masks

HEIGHT, WIDTH, FOCAL_PX = 120, 160, 150.0


def rays(pitch_deg: float) -> np.ndarray:
    """(h, w, 3) rays of depth 1, turned into a level frame, for a camera that looks down."""
    v, u = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    optical = np.stack(
        [(u - WIDTH / 2) / FOCAL_PX, (v - HEIGHT / 2) / FOCAL_PX, np.ones_like(u)], axis=-1
    )
    c, s = np.cos(np.radians(pitch_deg)), np.sin(np.radians(pitch_deg))
    return optical @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]]).T


def plane_depth(pitch_deg: float, below_m: float) -> np.ndarray:
    """Depth of a level plane below the camera; infinite above the horizon."""
    down = rays(pitch_deg)[..., 1]
    return np.where(down > 1e-3, below_m / np.maximum(down, 1e-3), np.inf)


def upright_depth(pitch_deg: float, forward_m: float) -> np.ndarray:
    """Depth of an upright plane in front of the camera."""
    forward = rays(pitch_deg)[..., 2]
    return np.where(forward > 1e-3, forward_m / np.maximum(forward, 1e-3), np.inf)


def seen(*surfaces: np.ndarray, noise: float = 0.003) -> np.ndarray:
    """What a depth camera measures: the nearest surface, noise, nothing beyond 8 m."""
    depth = np.minimum.reduce(surfaces)
    depth = depth * (1 + noise * np.random.default_rng(1).standard_normal(depth.shape))
    return np.where(depth < 8, depth, 0).astype(np.float32)


@pytest.mark.parametrize(('pitch_deg', 'below_m'), [(10, 0.3), (25, 0.6), (40, 1.2)])
def test_floor_in_front_of_a_wall(pitch_deg: float, below_m: float) -> None:
    floor = plane_depth(pitch_deg, below_m)
    wall = np.full_like(floor, 2.5)
    mask = ground_mask(seen(floor, wall), FOCAL_PX)
    truth = floor < wall
    assert (mask & truth).sum() / (mask | truth).sum() > 0.9


@pytest.mark.parametrize('pitch_deg', [5, 20])
def test_the_wall_behind_the_floor_and_not_a_cabinet_before_it(pitch_deg: float) -> None:
    floor, wall = plane_depth(pitch_deg, 0.6), upright_depth(pitch_deg, 2.5)
    cabinet = np.full_like(wall, np.inf)
    cabinet[20:, :60] = upright_depth(pitch_deg, 1.5)[20:, :60]
    ground, walls, above = room_masks(seen(floor, wall, cabinet), FOCAL_PX)
    on_wall = (wall < floor) & ~(cabinet < np.minimum(floor, wall))
    assert (walls & on_wall).sum() / on_wall.sum() > 0.8
    assert walls[~on_wall].mean() < 0.05
    assert not (walls & ground).any()
    stands = cabinet < np.minimum(floor, wall)
    assert above[stands].mean() > 0.75
    assert above[~stands].mean() < 0.15
    assert not (above & (walls | ground)).any()


def test_the_floor_and_not_the_larger_table() -> None:
    floor, table = plane_depth(30, 1.2), plane_depth(30, 0.45)
    on_table = np.zeros(floor.shape, bool)
    on_table[50:, :110] = True
    mask = ground_mask(seen(floor, np.where(on_table, table, np.inf)), FOCAL_PX)
    assert mask[90:, 120:].mean() > 0.8
    assert mask[90:, 10:100].mean() < 0.05


@pytest.mark.parametrize(
    'depth',
    [
        np.zeros((HEIGHT, WIDTH), np.float32),
        np.full((HEIGHT, WIDTH), 1.5, np.float32),  # a wall, seen straight on
        seen(plane_depth(30, 3.0)),  # a plane three metres below: no robot's floor
    ],
)
def test_no_ground(depth: np.ndarray) -> None:
    assert not ground_mask(depth, FOCAL_PX).any()


def test_real_robot_sees_floor_below_and_not_above(data: Path) -> None:
    shares = []
    for path in sorted((data / 'rgbd' / 'robot_lab' / 'depth_mm').iterdir())[::30]:
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.float32) / 1000
        mask = ground_mask(depth, 615 * depth.shape[1] / 640)
        shares.append((mask[: len(mask) // 5].mean(), mask[len(mask) // 2 :].mean()))
    upper, lower = np.mean(shares, axis=0)
    assert upper < 0.1
    assert lower > 0.5
