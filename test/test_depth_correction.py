# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The scale of depth over time: a floor with known depth, and everything that can be wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.options import Options
from mt_perception.execution.plan import Plan
from mt_perception.execution.postprocess.depth import NetworkDepth, network_depth
from mt_perception.geometry.depth_calibration import DepthCalibration
from mt_perception.geometry.depth_fit import DepthFit
from mt_perception.geometry.ground import ground_depth
from mt_perception.geometry.plane import GroundPlane
from mt_perception.geometry.rays import pixel_rays
from mt_perception.image.letterbox import fit
from mt_perception.planning.depth_correction import DepthCorrection
from mt_perception.planning.ground_window import WINDOW_S
from mt_perception.types import FISHEYE, DepthMap, Frame, Intrinsics, Segmentation

CAMERA = Intrinsics(fx=300, fy=300, cx=159.5, cy=119.5, width=320, height=240)
PLANE = GroundPlane.from_angles(0.5, pitch_deg=25, roll_deg=3)
BOX = fit((240, 320), 320, 32)
LABELS = ('wall', 'ground')
ROWS = (np.arange(64)[:, None] + 0.5) * 4 - 0.5
COLUMNS = (np.arange(80) + 0.5) * 4 - 0.5
FLOOR = ground_depth(PLANE, (COLUMNS - CAMERA.cx) / CAMERA.fx, (ROWS - CAMERA.cy) / CAMERA.fy)
WALL_M = 3.0
TRUE = np.where(np.isfinite(FLOOR) & (FLOOR < WALL_M), FLOOR, WALL_M).astype(np.float32)
IMAGE = np.zeros((240, 320, 3), np.uint8)


def segmentation(label: str = 'ground') -> Segmentation:
    floor = ground_depth(PLANE, *pixel_rays(CAMERA))
    ids = np.where(np.isfinite(floor) & (floor < WALL_M), 1, 0).astype(np.uint8)
    return Segmentation(ids, ('wall', label))


def run_of(
    stamp_s: float,
    plane: GroundPlane | None = PLANE,
    seen: Segmentation | None = None,
    camera: Intrinsics = CAMERA,
) -> FrameRun:
    frame = Frame(IMAGE, round(stamp_s * 1e9), 'camera', camera, ground=plane)
    run = FrameRun(Plan(), frame)
    run.results['segmentation'] = segmentation() if seen is None else seen
    return run


def network(wrong: float = 0.5, camera: Intrinsics | None = CAMERA) -> NetworkDepth:
    """The depth of a network that is wrong by a factor."""
    return network_depth({'depth': (wrong * TRUE)[None]}, BOX, camera)


def by_ground(**options: float) -> DepthCorrection:
    correction = DepthCorrection()
    correction.configure(Options(depth_scale='ground', **options), 'net 1.0')
    return correction


def error_of(made: DepthMap) -> float:
    """Mean relative error in log scale."""
    truth = network(1.0).depth_map(80).depth
    return float(np.nanmedian(np.log(made.depth / truth)))


@pytest.mark.parametrize('distortion', [(-0.28, 0.07, 0.001, -0.0005, 0.01), ()])
def test_the_ground_is_seen_through_the_lens(distortion: tuple[float, ...]) -> None:
    lens = replace(CAMERA, distortion=distortion)
    x, y = pixel_rays(lens)
    floor = ground_depth(PLANE, x, y)
    on_floor = np.isfinite(floor) & (floor < WALL_M)
    seen = Segmentation(on_floor.astype(np.uint8), LABELS)
    cells = np.pad(np.where(on_floor, floor, WALL_M)[2::4, 2::4], ((0, 4), (0, 0)), 'edge')
    half = network_depth({'depth': (0.5 * cells)[None]}, BOX, lens)
    made = by_ground().depth_map(run_of(1, seen=seen, camera=lens), half)
    left = np.log(made.depth / np.where(on_floor, floor, WALL_M))
    # Centres of the cells are half a pixel from the pixels taken above.
    assert abs(np.nanmedian(left[on_floor])) < 0.03


def test_fine_and_coarse_depth_have_the_same_scale() -> None:
    """Cells of a larger output are skipped."""
    large, coarse = fit((240, 320), 640, 32), by_ground().depth_map(run_of(1), network())
    # Without the padding of the smaller output.
    values = cv2.resize(network().values[:60], (160, 120), interpolation=cv2.INTER_LINEAR)
    fine = by_ground().depth_map(run_of(1), network_depth({'depth': values[None]}, large, CAMERA))
    assert fine.scale.factor == pytest.approx(coarse.scale.factor, rel=0.01)
    assert fine.scale.ground_share == pytest.approx(coarse.scale.ground_share, abs=0.01)


def test_a_class_that_the_labels_lack_is_no_ground() -> None:
    ids = segmentation().class_ids.copy()
    ids[ids == 0] = 255
    made = by_ground().depth_map(run_of(1, seen=Segmentation(ids, LABELS)), network())
    assert made.scale.factor == by_ground().depth_map(run_of(1), network()).scale.factor


@given(st.floats(0.5, 3.5))
def test_the_ground_is_exact_and_what_stands_on_it_follows(wrong: float) -> None:
    made = by_ground().depth_map(run_of(1), network(wrong))
    assert made.scale.source == 'ground'
    log = -np.log(wrong)
    left = np.log(made.depth / network(1.0).depth_map(80).depth)
    on_ground = segmentation().class_ids == 1
    assert abs(np.nanmedian(left[on_ground])) < 0.05 * abs(log) + 0.01
    assert abs(np.nanmedian(left[~on_ground])) < 0.35 * abs(log) + 0.01
    # The factor of the report is the geometric mean over the image.
    assert 0.75 * abs(log) < abs(np.log(made.scale.factor)) + 0.01
    assert np.log(made.scale.factor) * log >= 0
    assert abs(np.log(made.scale.factor)) < 1.05 * abs(log) + 0.01
    share = made.scale.ground_share
    assert share is not None
    assert share == pytest.approx(np.mean(on_ground), abs=0.03)
    assert made.scale.spread is not None
    assert made.scale.refused is None


@given(st.floats(0.25, 0.5))
def test_depth_is_at_most_doubled(wrong: float) -> None:
    made = by_ground().depth_map(run_of(1), network(wrong))
    on_ground = segmentation().class_ids == 1
    factors = made.depth / network(wrong).depth_map(80).depth
    assert np.nanmedian(factors[on_ground]) == pytest.approx(2, rel=0.06)
    left = np.log(0.5 / wrong)
    assert made.scale.spread == pytest.approx(left, abs=0.1), 'it tells what it left'


@pytest.mark.parametrize('share', [0.3, 0.45])
def test_a_table_that_is_segmented_as_ground_does_not_count(share: float) -> None:
    """It stands in front of the floor, at half of the height of the camera."""
    table = np.zeros((64, 80), bool)
    table[:, : round(80 * share)] = np.isfinite(FLOOR[:, :1])
    true = np.where(table, FLOOR / 2, TRUE)
    made = by_ground().depth_map(
        run_of(1), network_depth({'depth': 0.8 * true[None]}, BOX, CAMERA)
    )
    assert made.scale.refused is None
    truth = network_depth({'depth': true[None]}, BOX, CAMERA).depth_map(80).depth
    left = np.log(made.depth / truth)
    floor = segmentation().class_ids == 1
    floor[:, : round(320 * share) + 40] = False
    assert abs(np.nanmedian(left[floor])) < 0.03
    assert np.nanmedian(left[:, : round(320 * share)]) < 0.1, 'nor is the table enlarged'


def test_what_is_far_from_a_small_ground_keeps_the_scale_of_the_network() -> None:
    ids = segmentation().class_ids.copy()
    ids[:, 64:] = 0
    made = by_ground().depth_map(run_of(1, seen=Segmentation(ids, LABELS)), network(0.5))
    factors = made.depth / network(0.5).depth_map(80).depth
    assert np.nanmedian(factors[200:230, :48]) == pytest.approx(2, rel=0.05)
    assert np.nanmedian(factors[:, 240:]) == pytest.approx(1, abs=0.05)


def test_a_slope_of_the_scale_over_the_image_is_followed() -> None:
    """A network whose shape is wrong has another factor in each part of the ground."""
    wrong = np.linspace(0.75, 1.05, 80).astype(np.float32)
    seen = network_depth({'depth': (wrong * TRUE)[None]}, BOX, CAMERA)
    made, before = by_ground().depth_map(run_of(1), seen), seen.depth_map(80).depth
    on_ground = segmentation().class_ids == 1
    truth = network(1.0).depth_map(80).depth
    after, was = (np.nanmean(abs(one / truth - 1)[on_ground]) for one in (made.depth, before))
    assert after < 0.03 < 0.1 < was


def test_networks_of_several_sizes_share_the_ground() -> None:
    correction = by_ground()
    correction.depth_map(run_of(1), network())
    small = fit((240, 320), 160, 32)
    values = cv2.resize(network().values[:60], (40, 30), interpolation=cv2.INTER_LINEAR)
    padded = np.pad(values, ((0, small.network_size[0] // 4 - 30), (0, 0)), 'edge')[None]
    nothing = Segmentation(np.zeros((240, 320), np.uint8), LABELS)
    other = correction.depth_map(
        run_of(1.1, seen=nothing), network_depth({'depth': padded}, small, CAMERA)
    )
    assert other.scale.factor == pytest.approx(
        by_ground().depth_map(run_of(1), network()).scale.factor, rel=0.02
    )
    correction.depth_map(run_of(1.3), network_depth({'depth': padded}, small, CAMERA))
    made = correction.depth_map(run_of(1.6), network())
    assert abs(error_of(made)) < 0.2


def test_angles_of_the_options_serve_frames_without_a_plane() -> None:
    correction = by_ground(camera_height_m=0.5, camera_pitch_deg=25, camera_roll_deg=3)
    made = correction.depth_map(run_of(1, plane=None), network())
    assert made.scale.factor == pytest.approx(
        by_ground().depth_map(run_of(1), network()).scale.factor, rel=1e-5
    )


def test_a_wrong_frame_is_ignored_and_the_last_ground_fades() -> None:
    correction = by_ground()
    for step in range(5):
        made = correction.depth_map(run_of(1 + step), network(2.5 if step == 2 else 0.5))
    alone = by_ground().depth_map(run_of(1), network()).scale.factor
    assert made.scale.factor == pytest.approx(alone, rel=1e-3)
    nothing = Segmentation(np.zeros((240, 320), np.uint8), LABELS)
    held = correction.depth_map(run_of(6, seen=nothing), network())
    assert held.scale.factor == pytest.approx(alone, rel=1e-3)
    faded = correction.depth_map(run_of(11, seen=nothing), network())
    assert np.log(faded.scale.factor) == pytest.approx(np.log(alone) / np.e, rel=1e-3)
    held = correction.depth_map(run_of(60, seen=nothing), network())
    assert held.scale.factor == pytest.approx(1, abs=1e-3)
    assert held.scale.age_ms == pytest.approx(55_000)
    assert 'ground covers 0.0%' in str(held.scale.refused)
    for step in range(4):
        made = correction.depth_map(run_of(61 + step * WINDOW_S), network(0.8))
    assert made.scale.factor < 1.25, 'old measurements leave the window'


@pytest.mark.parametrize(
    ('run', 'depth', 'reason'),
    [
        (run_of(1, plane=None), network(), 'camera_height_m'),
        (run_of(1, plane=GroundPlane((0, 0.1, -1), 0.5)), network(), 'behind the camera'),
        (run_of(1, plane=replace(PLANE, height_m=50.0)), network(), 'check the height'),
        (run_of(1, plane=GroundPlane.from_angles(0.5, 80, 3)), network(), 'fits the plane'),
        (run_of(1, seen=segmentation('table')), network(), 'has no class'),
        (run_of(1), network(camera=None), 'camera_info'),
        (run_of(1), network(camera=replace(CAMERA, projection=FISHEYE)), 'fisheye'),
    ],
)
def test_a_wrong_ground_changes_nothing(run: FrameRun, depth: NetworkDepth, reason: str) -> None:
    made = by_ground().depth_map(run, depth)
    np.testing.assert_array_equal(made.depth, depth.depth_map(80).depth)
    assert made.scale.source in ('network', 'camera unknown')
    assert reason in str(made.scale.refused)


def test_ground_without_segmentation_is_refused() -> None:
    run = run_of(1)
    del run.results['segmentation']
    assert 'no segmentation' in str(by_ground().depth_map(run, network()).scale.refused)


def test_a_wall_that_is_segmented_as_ground_is_refused() -> None:
    wall = network_depth({'depth': np.full((1, 64, 80), 2.0, np.float32)}, BOX, CAMERA)
    whole = Segmentation(np.ones((240, 320), np.uint8), LABELS)
    made = by_ground().depth_map(run_of(1, seen=whole), wall)
    assert 'fits the plane' in str(made.scale.refused)


def test_a_plane_that_jumps_is_ignored_until_it_stays() -> None:
    correction = by_ground()
    before = correction.depth_map(run_of(1), network(0.9)).scale.factor
    tall = replace(PLANE, height_m=0.9)
    for step in range(5):
        made = correction.depth_map(run_of(1.1 + step * 0.2, plane=tall), network(0.9))
        assert made.scale.factor == before
        assert '0.50 m at pitch 25 degrees to 0.90 m' in str(made.scale.refused)
    made = correction.depth_map(run_of(2.2, plane=tall), network(0.9))
    assert made.scale.refused is None
    assert made.scale.factor > 1.5 * before, 'without the measurements of the old place'
    for step in range(5):
        again = correction.depth_map(run_of(3 + step, plane=tall), network(0.9))
        assert again.scale.factor == pytest.approx(made.scale.factor, rel=0.01)


def test_unknown_depth_stays_unknown() -> None:
    values = 0.5 * TRUE
    values[40:, 40:] = np.nan
    values[:4] = np.inf
    made = by_ground().depth_map(run_of(1), network_depth({'depth': values[None]}, BOX, CAMERA))
    assert made.scale.source == 'ground'
    assert np.isnan(made.depth[180:, 180:]).all()
    assert np.isnan(made.depth[:8]).all()
    assert np.isfinite(made.depth[30:150]).all()


def test_nothing_is_shared_with_another_camera_or_an_older_frame() -> None:
    correction = by_ground()
    correction.depth_map(run_of(10), network())
    nothing = Segmentation(np.zeros((240, 320), np.uint8), LABELS)
    assert correction.depth_map(run_of(9, seen=nothing), network()).scale.source == 'network'
    correction.depth_map(run_of(10), network())
    other = replace(CAMERA, fx=200)
    made = correction.depth_map(run_of(11, seen=nothing, camera=other), network(camera=other))
    assert made.scale.source == 'network'


def test_relative_depth_becomes_metric() -> None:
    inverse = (1 / TRUE - 0.05) * 7
    relative = network_depth({'inverse_depth': inverse[None]}, BOX, CAMERA)
    assert relative.depth_map(80).relative
    made = by_ground().depth_map(run_of(1), relative)
    assert not made.relative
    assert made.scale.source == 'ground'
    assert made.scale.shift == pytest.approx(0.05, abs=1e-3)
    assert abs(error_of(made)) < 0.01


def test_a_relative_map_reports_the_scale_of_the_network() -> None:
    inverse = 7 / TRUE
    made = network_depth({'inverse_depth': inverse[None]}, BOX, CAMERA).depth_map(80)
    assert made.scale.source == 'relative'
    full = BOX.map_to_image(inverse, 1)
    np.testing.assert_allclose(1 / made.depth * made.scale.factor, full, rtol=1e-4)


def test_a_calibration_is_used_for_its_camera(tmp_path: Path) -> None:
    file = tmp_path / 'depth.yaml'
    calibration = DepthCalibration(DepthFit(2.0, 0.0, 0.1), CAMERA, 'camera', 'net 1.0')
    file.write_text(calibration.text())
    correction = DepthCorrection()
    options = Options(depth_scale='calibration', depth_calibration=str(file))
    correction.configure(options, 'net 1.0')
    made = correction.depth_map(run_of(1), network(0.5))
    assert made.scale.source == 'calibration'
    assert abs(error_of(made)) < 1e-5
    other = replace(CAMERA, fx=400)
    refused = correction.depth_map(run_of(1, camera=other), network(camera=other))
    assert 'another camera' in str(refused.scale.refused)
    np.testing.assert_array_equal(refused.depth, network(camera=other).depth_map(80).depth)
    file.write_text('broken')
    correction.configure(options, 'net 1.0')
    assert correction.depth_map(run_of(1), network()).scale.source == 'calibration'
    correction.reload()
    correction.configure(options, 'net 1.0')
    refused = correction.depth_map(run_of(1), network())
    assert 'not a depth calibration' in str(refused.scale.refused)
    # Equal options that are set anew read the file, which was written meanwhile.
    file.write_text(replace(calibration, fit=DepthFit(4.0)).text())
    correction.configure(replace(options), 'net 1.0')
    assert correction.depth_map(run_of(1), network()).scale.factor == 4


def test_both_correct_by_the_calibration_and_then_by_the_ground(tmp_path: Path) -> None:
    file = tmp_path / 'depth.yaml'
    # Depth of the network is the power 1 / 1.3 of the true depth, times 1.2.
    calibration = DepthCalibration(DepthFit(1.2**-1.3, exponent=1.3), CAMERA, 'camera', 'net 1.0')
    file.write_text(calibration.text())
    correction = DepthCorrection()
    correction.configure(Options(depth_scale='both', depth_calibration=str(file)), 'net 1.0')
    # The ground shows another 20 % that the calibration does not know.
    seen = network_depth({'depth': (1.2 * (TRUE / 1.2) ** (1 / 1.3))[None]}, BOX, CAMERA)
    made = correction.depth_map(run_of(1), seen)
    assert made.scale.source == 'both'
    assert made.scale.exponent == 1.3
    assert made.scale.factor == pytest.approx(1.2**-1.3 * 1.2, rel=0.08)
    assert abs(error_of(made)) < 0.06
    nothing = Segmentation(np.zeros((240, 320), np.uint8), LABELS)
    other = DepthCorrection()
    other.configure(Options(depth_scale='both', depth_calibration=str(file)), 'net 1.0')
    alone = other.depth_map(run_of(1, seen=nothing), seen)
    assert alone.scale.source == 'calibration'
    assert 'ground covers' in str(alone.scale.refused)
    assert error_of(alone) == pytest.approx(-np.log(1.2), abs=0.01)
    other.configure(Options(depth_scale='both', depth_calibration=str(file)), 'net 2.0')
    ground = other.depth_map(run_of(1), seen)
    assert ground.scale.source == 'ground'
    assert 'net 2.0' in str(ground.scale.refused)


def test_segmentation_is_added_only_when_the_ground_is_due() -> None:
    correction = by_ground()
    served = ('depth', 'segmentation')

    def added(run: FrameRun, wanted: str = 'depth') -> bool:
        return 'segmentation' in correction.with_ground(frozenset({wanted}), served, run.frame)

    assert added(run_of(1))
    assert not added(run_of(1), 'detection')
    correction.depth_map(run_of(1), network())
    assert not added(run_of(1.1))
    assert added(run_of(1.3))
    assert added(run_of(1.2)), 'a fifth of a second later'
    assert not added(run_of(1.0))
    assert added(run_of(0.9)), 'a clock that jumped back'
    assert added(run_of(0.0)), 'without a stamp'
    later = run_of(1.3).frame
    assert correction.with_ground(frozenset({'depth'}), ('depth',), later) == {'depth'}
    correction.configure(Options(), 'net 1.0')
    assert not added(run_of(2))
    assert not correction.is_needed


@pytest.mark.parametrize(
    ('plane', 'camera'),
    [(None, CAMERA), (PLANE, None), (PLANE, replace(CAMERA, projection=FISHEYE))],
)
def test_no_segmentation_is_added_to_every_frame_that_is_refused(
    plane: GroundPlane | None, camera: Intrinsics | None
) -> None:
    """Without a plane, a focal length or a lens model each frame ran it for nothing."""
    correction, count = by_ground(), 0
    for stamp_s in np.arange(10, 12, 0.05):
        run = run_of(float(stamp_s), plane)
        due = correction.with_ground(frozenset({'depth'}), ('depth', 'segmentation'), run.frame)
        if 'segmentation' not in due:
            del run.results['segmentation']
        count += 'segmentation' in due
        assert correction.depth_map(run, network(camera=camera)).scale.refused
    assert count <= 11
