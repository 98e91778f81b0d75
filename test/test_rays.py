# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rays through lenses, against the equations of the models written out here."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mt_perception.geometry.boxes3d import boxes3d
from mt_perception.geometry.camera import Calibration, Window
from mt_perception.geometry.points import point_cloud
from mt_perception.geometry.rays import has_rays, pixel_rays, pixels_of, rays
from mt_perception.types import FISHEYE, DepthMap, Detections, Intrinsics

SIZE = (480, 640)
K = (400.0, 0.0, 318.0, 0.0, 405.0, 242.0, 0.0, 0.0, 1.0)
LENSES = {
    'plumb_bob': (-0.28, 0.07, 0.001, -0.0005, 0.01),
    'rational_polynomial': (0.8, -0.3, 0.0005, 0.0002, 0.05, 1.1, -0.2, 0.02),
    'equidistant': (-0.01, 0.04, -0.03, 0.01),
}


def project(model: str, d: tuple[float, ...], x: float, y: float) -> tuple[float, float]:
    """The pixel of a ray: the equations of image_pipeline's CameraInfo and of OpenCV's fisheye."""
    r2 = x * x + y * y
    if model == 'equidistant':
        r = np.sqrt(r2)
        theta = np.arctan(r)
        bent = theta * (1 + sum(c * theta ** (2 * n + 2) for n, c in enumerate(d)))
        scale = bent / r if r else 1.0
        x, y = x * scale, y * scale
    else:
        k1, k2, p1, p2, k3, *rest = d
        k4, k5, k6 = rest or (0.0, 0.0, 0.0)
        radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
        x, y = (
            x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
            y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
        )
    return K[0] * x + K[2], K[4] * y + K[5]


def camera_of(model: str, window: Window = Window()) -> Calibration:  # noqa: B008
    return Calibration(SIZE, K, (), model, LENSES[model], window)


@pytest.mark.parametrize('model', LENSES)
@settings(max_examples=60, deadline=None)
@given(st.floats(-0.7, 0.7), st.floats(-0.55, 0.55))
def test_the_ray_of_a_projected_ray_is_the_same(model: str, x: float, y: float) -> None:
    camera = camera_of(model).intrinsics(SIZE)
    pixel = np.array([project(model, LENSES[model], x, y)])
    # 0.02 pixels of 400 in a focal length.
    np.testing.assert_allclose(rays(camera, pixel), [[x, y]], atol=1.5e-4)


@pytest.mark.parametrize('model', LENSES)
@settings(max_examples=60, deadline=None)
@given(st.floats(-0.7, 0.7), st.floats(-0.55, 0.55))
def test_a_ray_has_the_pixel_of_its_lens(model: str, x: float, y: float) -> None:
    camera = camera_of(model).intrinsics(SIZE)
    expected = [project(model, LENSES[model], x, y)]
    np.testing.assert_allclose(pixels_of(camera, np.array([[x, y]])), expected, atol=1e-6)


def test_a_ray_beyond_the_fold_of_a_lens_has_no_pixel() -> None:
    camera = Intrinsics(400, 400, 320, 240, 640, 480, distortion=(-0.3, 0.0, 0.0, 0.0, 0.0))
    # r (1 - 0.3 r²) decreases from r = 1.05 on.
    found = pixels_of(camera, np.array([[0.0, 0.0], [1.5, 0.0]]))
    np.testing.assert_allclose(found[0], [320, 240])
    assert np.isnan(found[1]).all()


def test_without_distortion_pixels_and_rays_are_inverse() -> None:
    camera = Calibration(SIZE, K, (), 'plumb_bob', (0.0,) * 5).intrinsics(SIZE)
    pixels = np.array([[0.0, 0.0], [639.0, 479.0], [-50.0, 900.0]])
    np.testing.assert_allclose(pixels_of(camera, rays(camera, pixels)), pixels)


@pytest.mark.parametrize('model', LENSES)
def test_a_plane_is_flat_through_a_lens(model: str) -> None:
    """A checkerboard's corners on a plane at 2 m, seen through the lens, lie on that plane."""
    camera = camera_of(model).intrinsics(SIZE)
    depth = np.full(SIZE, 2.0, np.float32)
    points = point_cloud(DepthMap(depth, camera), np.zeros((*SIZE, 3), np.uint8))
    for x, y in ((0.0, 0.0), (0.5, 0.3), (-0.6, 0.4), (0.1, -0.5)):
        u, v = project(model, LENSES[model], x, y)
        found = points[round(v), round(u)]
        # Half a pixel at a focal length of 400 is 2.5 mm in 2 m; a lens stretches it.
        assert found['x'] == pytest.approx(2 * x, abs=0.006)
        assert found['y'] == pytest.approx(2 * y, abs=0.006)
        assert found['z'] == 2.0


def test_without_distortion_rays_are_those_of_a_pinhole() -> None:
    camera = Calibration(SIZE, K, (), 'plumb_bob', (0.0,) * 5).intrinsics(SIZE)
    assert camera.distortion == ()
    x, y = pixel_rays(camera, 2)
    assert x[0, 10] == pytest.approx((20 - 318) / 400)
    assert y[7, 0] == pytest.approx((14 - 242) / 405)


def test_a_region_and_binning_have_the_rays_of_their_pixels() -> None:
    window = Window(x_offset=100, y_offset=60, width=320, height=240, binning_x=2, binning_y=2)
    part = camera_of('plumb_bob', window).intrinsics((120, 160))
    whole = camera_of('plumb_bob').intrinsics(SIZE)
    pixels = np.array([[0.0, 0.0], [80.0, 60.0], [159.0, 119.0]])
    np.testing.assert_allclose(rays(part, pixels), rays(whole, pixels * 2 + [100, 60]), atol=1e-4)


def test_beyond_the_range_of_a_lens_there_is_no_point() -> None:
    wide = Calibration(SIZE, (120.0, 0, 320, 0, 120, 240, 0, 0, 1), (), 'equidistant', (0.0,) * 4)
    camera = wide.intrinsics(SIZE)
    assert has_rays(camera)
    x, _ = pixel_rays(camera)
    # 85 degrees are 178 pixels from the centre.
    assert np.isfinite(x[240, 320 + 175])
    assert np.isnan(x[240, 320 + 182])
    points = point_cloud(
        DepthMap(np.ones(SIZE, np.float32), camera), np.zeros((*SIZE, 3), np.uint8)
    )
    assert np.isnan(points[240, 0]['z'])


def test_unknown_lenses_have_no_rays_and_a_warning() -> None:
    omni = Calibration(SIZE, K, (), 'omnidirectional', (0.1, 0.2, 0.0, 0.0))
    assert not has_rays(omni.intrinsics(SIZE))
    assert 'there are no points' in (omni.concern() or ('', ''))[1]
    known = camera_of('equidistant')
    assert 'points are undistorted' in (known.concern() or ('', ''))[1]
    short = Calibration(SIZE, K, (), 'plumb_bob', (0.1, 0.2, 0.0))
    assert short.intrinsics(SIZE).distortion == ()
    assert 'found 3' in (short.concern() or ('', ''))[1]
    assert camera_of('plumb_bob').intrinsics(SIZE, rectified=True).distortion == ()


@pytest.mark.parametrize('model', LENSES)
def test_a_box_in_space_is_where_the_lens_shows_it(model: str) -> None:
    camera: Intrinsics = camera_of(model).intrinsics(SIZE)
    x, y, half = 0.45, 0.2, 0.1
    corners: NDArray[np.float64] = np.array(
        [project(model, LENSES[model], *p) for p in ((x - half, y), (x + half, y))]
        + [project(model, LENSES[model], *p) for p in ((x, y - half), (x, y + half))]
    )
    box = [[corners[0, 0], corners[2, 1], corners[1, 0], corners[3, 1]]]
    found = boxes3d(
        Detections(np.array(box, np.float32), np.ones(1, np.float32), np.zeros(1, int), ('a',)),
        DepthMap(np.full(SIZE, 3.0, np.float32), camera),
    )
    np.testing.assert_allclose(found.centers, [[3 * x, 3 * y, 3.0]], atol=0.03)
    np.testing.assert_allclose(found.sizes[:, :2], [[6 * half, 6 * half]], atol=0.04)


def test_a_fisheye_without_coefficients_has_no_boxes() -> None:
    camera = Intrinsics(100.0, 100.0, 320.0, 240.0, 640, 480, FISHEYE)
    one = Detections(
        np.array([[300, 200, 340, 280]], np.float32),
        np.ones(1, np.float32),
        np.zeros(1, int),
        ('a',),
    )
    assert not len(boxes3d(one, DepthMap(np.ones(SIZE, np.float32), camera)).indices)
