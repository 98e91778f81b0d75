# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Intrinsics: windows of the sensor, resizing, and calibrations that are none."""

from __future__ import annotations

import math

import pytest

from mt_perception.errors import CameraError
from mt_perception.geometry.camera import Window, intrinsics, resized, typical
from mt_perception.types import Intrinsics

K = (600.0, 0.0, 320.0, 0.0, 610.0, 240.0, 0.0, 0.0, 1.0)
SIZE = (480, 640)


def reason(*args: object) -> str:
    with pytest.raises(CameraError) as caught:
        intrinsics(*args)
    return caught.value.reason


def test_a_plain_camera() -> None:
    assert intrinsics(K, SIZE, SIZE) == Intrinsics(600, 610, 320, 240, 640, 480)


def test_region_of_interest_moves_the_principal_point() -> None:
    window = Window(x_offset=100, y_offset=50, width=320, height=240)
    assert intrinsics(K, SIZE, (240, 320), window) == Intrinsics(600, 610, 220, 190, 320, 240)


def test_binning_shrinks_everything() -> None:
    window = Window(binning_x=2, binning_y=4)
    assert intrinsics(K, SIZE, (120, 320), window) == Intrinsics(300, 152.5, 160, 60, 320, 120)


def test_binning_of_a_region() -> None:
    window = Window(x_offset=100, y_offset=50, width=320, height=240, binning_x=2, binning_y=2)
    assert intrinsics(K, SIZE, (120, 160), window) == Intrinsics(300, 305, 110, 95, 160, 120)


@pytest.mark.parametrize('size', [(240, 320), (480, 641), (640, 480), (0, 0)])
def test_another_size_is_refused(size: tuple[int, int]) -> None:
    assert reason(K, SIZE, size) == 'other_size'


@pytest.mark.parametrize(
    'k',
    [
        (0.0,) * 9,
        (math.nan, *K[1:]),
        (*K[:2], math.inf, *K[3:]),
        (-600.0, *K[1:]),
        (*K[:4], 0.0, *K[5:]),
        K[:8],
        (),
    ],
)
def test_what_is_no_camera_is_refused(k: tuple[float, ...]) -> None:
    assert reason(k, SIZE, SIZE) == 'bad_k'


def test_resizing_keeps_the_rays() -> None:
    """The ray through a place of the image is the same at every size."""
    camera = Intrinsics(600, 610, 320, 240, 640, 480)
    half = resized(camera, 240, 320)
    # The centre of the half image's pixel (10, 20) is the corner between four pixels.
    assert (10 - half.cx) / half.fx == pytest.approx((20.5 - camera.cx) / camera.fx)
    assert (20 - half.cy) / half.fy == pytest.approx((40.5 - camera.cy) / camera.fy)
    assert resized(half, 480, 640) == camera


def test_a_typical_camera_looks_straight_ahead() -> None:
    camera = typical(480, 640)
    assert (camera.cx, camera.cy) == (319.5, 239.5)
    assert camera.fx == camera.fy
    across = math.degrees(2 * math.atan(320 / camera.fx))
    assert 50 < across < 70
