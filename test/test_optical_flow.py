# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Optical flow: results of an earlier frame end up where things are in the later one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mt_perception.execution.postprocess.warp import warped
from mt_perception.image.optical_flow import FLOW_SIDE, OpticalFlow, to_flow_image
from mt_perception.types import DepthMap, Detections, Intrinsics, Segmentation

SIZE = 480, 640
SHIFT = 12, -8
"""Pixels right and down by which the scene moves."""


@pytest.fixture(scope='module')
def scene() -> np.ndarray:
    """Texture with a margin, so that it can be moved."""
    coarse = np.random.default_rng(3).integers(0, 255, (60, 80, 3), np.uint8)
    return cv2.resize(coarse, (720, 560), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope='module')
def motion(scene: np.ndarray) -> OpticalFlow:
    """From the scene to the scene moved by SHIFT."""
    x, y = SHIFT
    before = scene[40:520, 40:680]
    after = scene[40 - y : 520 - y, 40 - x : 680 - x]
    return OpticalFlow(to_flow_image(before), to_flow_image(after))


def test_the_flow_leads_back(motion: OpticalFlow) -> None:
    middle = np.median(motion.backward[10:-10, 10:-10].reshape(-1, 2), axis=0) * 640 / FLOW_SIDE
    np.testing.assert_allclose(middle, [-SHIFT[0], -SHIFT[1]], atol=1)


def test_boxes_move_with_what_is_in_them(motion: OpticalFlow) -> None:
    boxes = np.array([[100, 100, 200, 300], [600, 400, 640, 480]], np.float32)
    found = motion.warp_boxes(boxes, SIZE)
    np.testing.assert_allclose(found[0], [112, 92, 212, 292], atol=2)
    assert (found[1] <= [640, 480, 640, 480]).all()


def test_maps_move_and_keep_their_values(motion: OpticalFlow) -> None:
    values = np.zeros(SIZE, np.uint8)
    values[200:300, 300:400] = 7
    found = motion.warp_map(values)
    assert set(np.unique(found)) == {0, 7}
    assert (found[200:280, 320:400] == 7).all()
    assert (found[:180] == 0).all()


def test_a_result_keeps_its_kind(motion: OpticalFlow) -> None:
    camera = Intrinsics(600, 600, 320, 240, 640, 480)
    distances = np.full(SIZE, 2.5, np.float32)
    distances[:100] = np.nan
    found = warped(DepthMap(distances, camera), motion, SIZE)
    assert isinstance(found, DepthMap)
    assert found.intrinsics == camera
    assert set(found.depth[np.isfinite(found.depth)]) == {2.5}
    labels = warped(Segmentation(np.full(SIZE, 255, np.uint8), ('a',)), motion, SIZE)
    assert isinstance(labels, Segmentation)
    assert (labels.class_ids == 255).all()


def test_a_box_that_leaves_the_image_is_gone(motion: OpticalFlow) -> None:
    boxes = np.array([[630, 100, 640, 200], [100, 100, 200, 300]], np.float32)
    found = warped(
        Detections(boxes, np.float32([0.9, 0.8]), np.array([0, 1]), ('a', 'b')), motion, SIZE
    )
    assert isinstance(found, Detections)
    assert list(found.class_ids) == [1]
    assert len(found.boxes) == len(found.scores) == 1
    empty = warped(replace_all(found), motion, SIZE)
    assert len(empty) == 0


def replace_all(found: Detections) -> Detections:
    """No detections at all."""
    none = np.zeros(0)
    return Detections(
        np.zeros((0, 4), np.float32), none.astype(np.float32), none.astype(np.int64), found.labels
    )


def test_images_too_small_for_flow_do_not_move() -> None:
    tiny = np.zeros((3, 9), np.uint8)
    assert not OpticalFlow(tiny, tiny).backward.any()


@pytest.mark.parametrize('size', [(480, 640), (481, 640), (480, 641), (575, 767), (240, 320)])
@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_a_map_without_motion_keeps_a_pixel_of_each_cell(
    size: tuple[int, int], dtype: type[np.generic]
) -> None:
    grey = to_flow_image(np.full((*size, 3), 90, np.uint8))
    values = np.random.default_rng(0).integers(0, 255, size).astype(dtype)
    warped = OpticalFlow(grey, grey).warp_map(values)
    assert (warped.shape, warped.dtype) == (values.shape, values.dtype)
    assert warped.flags.c_contiguous
    step = 2 if min(size[0] / grey.shape[0], size[1] / grey.shape[1]) >= 2 else 1
    rows, columns = (np.arange(side) // step * step for side in size)
    np.testing.assert_array_equal(warped, values[rows[:, None], columns])


def test_a_map_of_the_size_of_the_flow_is_taken_from_its_positions(motion: OpticalFlow) -> None:
    height, width = motion.backward.shape[:2]
    values = np.random.default_rng(0).random((height, width), np.float32)
    rows, columns = np.indices((height, width), np.float32)
    positions = motion.backward + np.stack([columns, rows], axis=-1)
    found = motion.interpolate_map(values)
    for row, column in ((40, 60), (20, 100), (70, 30)):
        x, y = positions[row, column]
        left, top = int(x), int(y)
        across, down = x - left, y - top
        upper, lower = (
            values[at, left] * (1 - across) + values[at, left + 1] * across
            for at in (top, top + 1)
        )
        # OpenCV rounds positions to 1/32 of a pixel.
        assert found[row, column] == pytest.approx(upper * (1 - down) + lower * down, abs=0.05)
