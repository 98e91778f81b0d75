# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Intrinsics: windows of the sensor, resizing, and calibrations that are none."""

from __future__ import annotations

import math

import pytest

from mt_perception.errors import CameraError
from mt_perception.geometry.camera import Calibration, Window, is_rectified, resized, typical
from mt_perception.types import FISHEYE, PINHOLE, Intrinsics

K = (600.0, 0.0, 320.0, 0.0, 610.0, 240.0, 0.0, 0.0, 1.0)
SIZE = (480, 640)


def intrinsics(
    k: tuple[float, ...],
    calibrated_size: tuple[int, int],
    image_size: tuple[int, int],
    window: Window | None = None,
) -> Intrinsics:
    return Calibration(calibrated_size, k, window=window or Window()).intrinsics(image_size)


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
        (1e308, *K[1:]),
        (*K[:4], 1e6, *K[5:]),
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


P = (450.0, 0.0, 310.0, 0.0, 0.0, 455.0, 235.0, 0.0, 0.0, 0.0, 1.0, 0.0)
LENS = (-0.35, 0.15, 0.0, 0.0, 0.0)


def test_a_rectified_image_has_p_and_a_raw_one_k() -> None:
    camera = Calibration(SIZE, K, P, 'plumb_bob', LENS)
    raw = Intrinsics(600, 610, 320, 240, 640, 480, distortion=LENS)
    assert camera.intrinsics(SIZE) == raw
    assert camera.intrinsics(SIZE, rectified=True) == Intrinsics(450, 455, 310, 235, 640, 480)


@pytest.mark.parametrize('p', [(), (0.0,) * 12])
def test_a_rectified_image_without_p_has_k(p: tuple[float, ...]) -> None:
    camera = Calibration(SIZE, K, p).intrinsics(SIZE, rectified=True)
    assert (camera.fx, camera.projection) == (600, PINHOLE)


def test_a_window_of_a_rectified_image() -> None:
    window = Window(x_offset=100, y_offset=50, width=320, height=240, binning_x=2, binning_y=2)
    camera = Calibration(SIZE, K, P, window=window).intrinsics((120, 160), rectified=True)
    assert camera == Intrinsics(225, 227.5, 105, 92.5, 160, 120)


@pytest.mark.parametrize(
    ('topic', 'expected'),
    [
        ('/camera/image_raw', False),
        ('/camera/image_rect', True),
        ('/camera/image_rect_color/compressed', True),
        ('/zed/zed_node/left/color/rect/image', True),
        ('/zed/zed_node/rgb/image_rect_color', True),
        ('/stereo/image_rectified', True),
        ('/camera/depth/image_rect_raw', True),
        ('/camera/correct/image', False),
        ('/rectangle/image_raw', False),
        ('/direct/image', False),
    ],
)
def test_topics_of_rectified_images(topic: str, expected: bool) -> None:
    assert is_rectified(topic) == expected


@pytest.mark.parametrize('model', ['equidistant', 'kannala_brandt4', 'Fisheye', 'double_sphere'])
def test_a_fisheye_is_no_pinhole_unless_it_is_rectified(model: str) -> None:
    camera = Calibration(SIZE, K, P, model, (0.01, 0.0, 0.0, 0.0))
    raw = camera.intrinsics(SIZE)
    assert raw.projection == FISHEYE
    assert resized(raw, 240, 320).projection == FISHEYE
    assert camera.intrinsics(SIZE, rectified=True).projection == PINHOLE
    reason, sentence = camera.concern() or ('', '')
    assert reason == 'fisheye'
    assert model in sentence
    assert camera.concern(rectified=True) is None


def test_known_lenses_need_no_word_and_unknown_ones_do() -> None:
    for model in ('plumb_bob', 'rational_polynomial'):
        assert Calibration(SIZE, K, P, model, LENS).concern() is None
    assert Calibration(SIZE, K, P, '', ()).concern() is None
    concern = Calibration(SIZE, K, P, 'homemade', LENS).concern()
    assert concern is not None
    assert concern[0] == 'unknown_distortion'
    assert "'homemade'" in concern[1]
