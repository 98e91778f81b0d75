# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The ground plane: poses, gravity and expected depth against points on a known floor."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.errors import OptionError
from mt_perception.geometry.ground import ground_depth
from mt_perception.geometry.plane import GroundPlane
from mt_perception.geometry.rays import pixel_rays
from mt_perception.types import Intrinsics

CAMERA = Intrinsics(fx=300, fy=310, cx=160, cy=118, width=320, height=240)
OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""Optical axes (x right, y down, z forward) in the body's frame (x forward, y left, z up)."""


def body_rotation(pitch: float, roll: float, yaw: float = 0.0) -> np.ndarray:
    """The rotation of REP-103 (x, then y, then z) from the body's frame to the world."""
    cr, sr, cp, sp, cy, sy = (
        f(a) for a in (roll, pitch, yaw) for f in (np.cos, np.sin)
    )  # fmt: skip
    x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    return np.asarray(z @ y @ x)


ANGLES = st.tuples(st.floats(-0.6, 1.4), st.floats(-0.6, 0.6), st.floats(-3, 3))


@given(ANGLES, st.floats(0.05, 3), st.floats(0.3, 20), st.floats(-5, 5))
def test_points_of_a_known_floor_have_their_depth(
    angles: tuple[float, float, float], height: float, ahead: float, left: float
) -> None:
    """The rays of points of the floor meet the plane at their depth."""
    pitch, roll, yaw = angles
    rotation = body_rotation(pitch, roll, yaw) @ OPTICAL
    plane = GroundPlane.from_pose(rotation, height)
    point = rotation.T @ (np.array([ahead, left, 0.0]) - np.array([0, 0, height]))
    if point[2] < 0.1:
        return
    x, y = point[:2] / point[2]
    depth = ground_depth(plane, np.array([x]), np.array([y]))[0]
    steep = height / np.linalg.norm(point) > np.sin(np.radians(3.01))
    if steep:
        assert depth == pytest.approx(point[2], rel=1e-3)
    else:
        assert np.isnan(depth) or depth == pytest.approx(point[2], rel=1e-3)


@given(ANGLES, st.floats(0.05, 3))
def test_angles_pose_and_gravity_agree(angles: tuple[float, float, float], height: float) -> None:
    pitch, roll, yaw = angles
    rotation = body_rotation(pitch, roll, yaw) @ OPTICAL
    pose = GroundPlane.from_pose(rotation, height)
    by_angles = GroundPlane.from_angles(height, np.degrees(pitch), np.degrees(roll))
    by_gravity = GroundPlane.from_gravity(rotation.T @ np.array([0, 0, 9.81]), height)
    np.testing.assert_allclose(by_angles.normal, pose.normal, atol=1e-9)
    np.testing.assert_allclose(by_gravity.normal, pose.normal, atol=1e-9)


def test_no_depth_at_and_above_the_horizon() -> None:
    plane = GroundPlane.from_angles(1.0)
    depth = ground_depth(plane, *pixel_rays(CAMERA))
    assert np.isnan(depth[:120]).all()
    assert depth[239, 160] == pytest.approx(310 / 121, rel=1e-6)


def test_a_plane_behind_the_camera_has_no_depth() -> None:
    plane = GroundPlane((0.0, 0.2, -1.0), 1.0)
    assert np.isnan(ground_depth(plane, *pixel_rays(CAMERA))).all()


@pytest.mark.parametrize('height', [0.0, -1.0, np.nan, np.inf])
def test_impossible_heights_are_refused(height: float) -> None:
    with pytest.raises(OptionError, match='height'):
        GroundPlane.from_angles(height)


def test_invalid_directions_are_refused() -> None:
    with pytest.raises(OptionError, match='normal'):
        GroundPlane((0.0, 0.0, 0.0), 1.0)
    with pytest.raises(OptionError, match='normal'):
        GroundPlane((np.nan, 0.0, 1.0), 1.0)
    with pytest.raises(OptionError, match='pitch'):
        GroundPlane.from_angles(1.0, pitch_deg=100)
    with pytest.raises(OptionError, match='rotation'):
        GroundPlane.from_pose(2 * np.eye(3), 1.0)
    with pytest.raises(OptionError, match='gravity'):
        GroundPlane.from_gravity(np.array([0.0, -1.0, 0.0]), 1.0)


def test_gravity_of_any_size_is_refused_without_a_warning() -> None:
    warnings.simplefilter('error')
    with pytest.raises(OptionError, match='expected gravity'):
        GroundPlane.from_gravity(np.array([1e308, 1e308, 0.0]), 0.3)
