# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Metric depth: metres with any camera at any size, and never a number that is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.errors import CameraError, TaskError
from mt_perception.execution.postprocess.depth import network_depth
from mt_perception.geometry.camera import resized, typical
from mt_perception.geometry.depth_fit import DepthFit
from mt_perception.image.letterbox import Letterbox, fit
from mt_perception.reports import GROUND, ScaleReport
from mt_perception.types import FISHEYE, PINHOLE, DepthMap, Intrinsics

CAMERA = Intrinsics(fx=600, fy=600, cx=320, cy=240, width=640, height=480)


def depth(
    outputs: dict[str, np.ndarray], box: Letterbox, camera: Intrinsics | None, max_depth_m: float
) -> DepthMap:
    return network_depth(outputs, box, camera).depth_map(max_depth_m)


@given(st.floats(0.2, 15), st.sampled_from([(480, 640), (240, 320), (1080, 1920), (333, 217)]))
def test_metres_do_not_depend_on_the_image_size(metres: float, size: tuple[int, int]) -> None:
    """The network sees a wall at some metres through its own focal length, whatever came in."""
    box = fit(size, 320, 32)
    camera = resized(CAMERA, *size)
    focal = resized(camera, *box.content_size).fx
    shape = (1, box.network_size[0] // 4, box.network_size[1] // 4)
    made = depth({'depth_per_focal': np.full(shape, metres / focal, np.float32)}, box, camera, 20)
    assert made.depth.shape == size
    assert made.depth.dtype == np.float32
    np.testing.assert_allclose(made.depth, metres, rtol=1e-5)
    assert made.intrinsics == camera
    assert not made.assumed_intrinsics


def test_without_a_camera_a_typical_one_is_assumed_and_said() -> None:
    box = fit((480, 640), 320, 32)
    made = depth({'depth_per_focal': np.full((1, 64, 80), 0.01, np.float32)}, box, None, 20)
    assert made.assumed_intrinsics
    assert made.intrinsics == typical(480, 640)
    np.testing.assert_allclose(made.depth, 0.01 * made.intrinsics.fx / 2, rtol=1e-5)


def test_what_is_no_depth_is_nan() -> None:
    box = fit((240, 320), 320, 32)
    values = np.full((1, 64, 80), 0.01, np.float32)
    values[0, :4, :4] = [[np.nan], [np.inf], [-np.inf], [-1]]
    values[0, 20, 20] = 0
    values[0, 40, 40] = 1
    made = depth({'depth_per_focal': values}, box, resized(CAMERA, 240, 320), 20).depth
    for y, x in ((8, 8), (20 * 4 + 2, 20 * 4 + 2), (40 * 4 + 2, 40 * 4 + 2)):
        assert np.isnan(made[y, x])
    assert not np.isinf(made).any()
    seen = np.isfinite(made)
    assert seen.mean() > 0.98
    np.testing.assert_allclose(made[seen], 3, rtol=1e-5)


def test_beyond_the_range_is_unknown() -> None:
    box = fit((240, 320), 320, 32)
    values = np.full((1, 64, 80), 0.01, np.float32)
    values[0, :, 40:] = 0.02
    made = depth({'depth_per_focal': values}, box, resized(CAMERA, 240, 320), 5).depth
    np.testing.assert_allclose(made[:, :150], 3, rtol=1e-5)
    assert np.isnan(made[:, 170:]).all()


def test_nothing_finite_is_a_failure() -> None:
    with pytest.raises(TaskError, match='no finite depth'):
        depth(
            {'depth_per_focal': np.full((1, 64, 80), np.nan, np.float32)},
            fit((240, 320), 320, 32),
            None,
            20,
        )


def test_a_camera_of_another_image_is_refused() -> None:
    with pytest.raises(CameraError, match='640x480'):
        depth(
            {'depth_per_focal': np.ones((1, 64, 80), np.float32)},
            fit((240, 320), 320, 32),
            CAMERA,
            20,
        )


@pytest.mark.parametrize('shape', [(40, 40), (2, 40, 40), (1, 0, 40), (1, 1, 40, 40)])
def test_shapes_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(TaskError, match='expected depth_per_focal'):
        depth({'depth_per_focal': np.ones(shape, np.float32)}, fit((160, 160), 160, 32), None, 20)


def test_relative_depth_is_finite_with_a_median_of_one() -> None:
    inverse = np.full((1, 64, 80), 2, np.float32)
    inverse[0, :10] = [[0], [-1], [np.nan], [-np.inf], *([[8]] * 6)]
    made = depth({'inverse_depth': inverse}, fit((240, 320), 320, 32), None, 20)
    assert made.relative
    assert np.isfinite(made.depth).all()
    assert (made.depth > 0).all()
    assert np.median(made.depth) == pytest.approx(1)
    assert made.depth.min() == pytest.approx(0.25, rel=0.01)
    with pytest.raises(TaskError, match='no positive inverse depth'):
        depth(
            {'inverse_depth': np.zeros((1, 64, 80), np.float32)},
            fit((240, 320), 320, 32),
            None,
            20,
        )


def test_metres_stay_metres() -> None:
    values = np.full((1, 64, 80), 3, np.float32)
    values[0, 0, 0] = 50
    made = depth({'depth': values}, fit((240, 320), 320, 32), resized(CAMERA, 240, 320), 20)
    assert np.nanmax(made.depth) == pytest.approx(3)
    assert np.isnan(made.depth[0, 0])
    assert not made.relative


@given(st.floats(0.2, 5), st.integers(0, 100))
def test_a_scale_alone_is_that_of_scale_and_shift(factor: float, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(-0.5, 30, (1, 64, 80)).astype(np.float32)
    values[0, ::9, ::7], values[0, 1::9, ::7] = np.nan, np.inf
    network = network_depth({'depth': values}, fit((480, 640), 320, 32), CAMERA)
    scaled, shifted = (
        network.corrected(DepthFit(factor, shift)).depth_map(20, ScaleReport(GROUND, factor))
        for shift in (0, 1e-30)
    )
    np.testing.assert_allclose(scaled.depth, shifted.depth, rtol=1e-5)


def test_inverse_depth_of_every_second_cell_is_that_of_all() -> None:
    values = np.random.default_rng(0).uniform(0, 30, (1, 64, 80)).astype(np.float32)
    for name in ('depth', 'inverse_depth'):
        network = network_depth({name: values}, fit((480, 640), 320, 32), CAMERA)
        np.testing.assert_array_equal(network.inverse(3), network.inverse()[::3, ::3])


@pytest.mark.parametrize('change', [{'fx': -600}, {'fy': 0}, {'cx': np.nan}, {'fy': np.inf}])
def test_a_camera_without_a_focal_length_is_refused(change: dict[str, float]) -> None:
    values = {'depth': np.ones((1, 64, 80), np.float32)}
    with pytest.raises(CameraError, match='positive focal lengths') as raised:
        depth(values, fit((480, 640), 320, 32), replace(CAMERA, **change), 20)
    assert raised.value.reason == 'bad_intrinsics'


@pytest.mark.parametrize(('projection', 'count'), [(PINHOLE, 3), (FISHEYE, 5)])
def test_a_distortion_that_no_lens_model_has_is_refused(projection: str, count: int) -> None:
    camera = replace(CAMERA, projection=projection, distortion=(0.1,) * count)
    with pytest.raises(CameraError, match=f'coefficients, found {count}'):
        depth({'depth': np.ones((1, 64, 80), np.float32)}, fit((480, 640), 320, 32), camera, 20)


def test_a_camera_of_another_projection_is_refused() -> None:
    values = {'depth': np.ones((1, 64, 80), np.float32)}
    with pytest.raises(CameraError, match=r"projection must be .* found 'cube'"):
        depth(values, fit((480, 640), 320, 32), replace(CAMERA, projection='cube'), 20)
