# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures: everything that was found can be seen, at any size, and the input stays clean."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mt_perception.geometry.camera import typical
from mt_perception.image.overlay import depth_picture, draw, draw_detections, sheet
from mt_perception.image.palette import DARK, LIGHT, UNKNOWN, colour, ink_on
from mt_perception.image.text import Line, draw_lines, text_size
from mt_perception.reports import Execution, ScaleReport
from mt_perception.types import UNLABELLED, DepthMap, Detections, Result, Segmentation

NAMED = [colour(n, 0) for n in ('person', 'ground', 'wall', 'sky', 'water', 'furniture', 'table')]
NAMED_CLASSES = (
    *('person', 'ground', 'vegetation', 'wall', 'ceiling', 'door', 'table', 'seat', 'furniture'),
    *('vehicle', 'animal', 'building', 'sky', 'water', 'object'),
)
LABELS = ('person', 'ground', 'spaceship')


def result_for(height: int, width: int) -> Result:
    """A person in the middle of ground; the left half is near, the first column unknown."""
    ids = np.full((height, width), 1, np.uint8)
    ids[height // 4 : height // 2] = 0
    ids[: height // 8] = UNLABELLED
    depth = np.full((height, width), 4, np.float32)
    depth[:, : width // 2] = 1
    depth[:, 0] = np.nan
    box = np.array([[width / 4, height / 4, width * 3 / 4, height * 3 / 4]], np.float32)
    return Result(
        stamp_ns=1,
        frame_id='camera',
        detections=Detections(box, np.array([0.9], np.float32), np.array([0]), LABELS),
        depth=DepthMap(depth, typical(height, width)),
        segmentation=Segmentation(ids, LABELS),
        execution=Execution(('depth',), ('trunk',), 'full', 'all', 10**9, (64, 96), {'total': 5}),
    )


@settings(max_examples=30)
@given(st.integers(1, 120), st.integers(2, 120))
def test_any_size_is_drawn_and_the_image_stays_clean(height: int, width: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    image.flags.writeable = False
    result = result_for(height, width)
    assert draw(image, result).shape == image.shape
    picture = sheet(image, result)
    assert picture.dtype == np.uint8
    assert max(picture.shape) == 1280


def test_boxes_have_the_colour_of_their_class_and_lie_where_they_are() -> None:
    picture = np.zeros((480, 640, 3), np.uint8)
    draw_detections(picture, result_for(480, 640).detections)
    for y, x in ((120, 300), (359, 300), (200, 160), (200, 479)):
        assert tuple(picture[y, x]) == colour('person', 0)
    assert not picture[200:340, 170:470].any()  # The inside stays visible.


def test_a_label_at_the_edge_stays_in_the_picture() -> None:
    for box in ([600, 0, 640, 480], [0, 0, 5, 5], [630, 470, 640, 480]):
        picture = np.zeros((480, 640, 3), np.uint8)
        found = Detections(
            np.array([box], np.float32), np.ones(1, np.float32), np.array([2]), LABELS
        )
        draw_detections(picture, found)
        width, height = text_size(picture, 'spaceship 1.00')
        filled = (picture == colour('spaceship', 2)).all(axis=2).sum()
        assert filled > 0.5 * width * height


def test_classes_tint_the_image_and_unlabelled_pixels_stay() -> None:
    image = np.full((480, 640, 3), 100, np.uint8)
    result = replace(result_for(480, 640), detections=None, depth=None)
    picture = draw(image, result)
    assert (picture[50, 600] == 100).all()
    expected = (np.array(colour('person', 0)) + 100) / 2
    np.testing.assert_allclose(picture[150, 600], expected, atol=1)


def test_near_is_bright_far_is_dark_unknown_is_grey() -> None:
    picture = depth_picture(result_for(480, 640).depth)
    assert tuple(picture[300, 0]) == UNKNOWN
    assert int(picture[300, 100].sum()) > int(picture[300, 500].sum())


def test_depth_is_drawn_on_a_logarithmic_scale() -> None:
    columns = np.repeat(np.array([5.5, 11.0, 22.0, 44.0, 49.0], np.float32), 64)
    depth = DepthMap(np.tile(columns, (240, 1)), typical(240, 320))
    row = depth_picture(depth)[120, ::64].astype(int)
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0]
    shades = [int(np.abs(table.astype(int) - pixel).sum(axis=1).argmin()) for pixel in row]
    steps = -np.diff(shades[:4])
    assert (steps > 30).all(), 'a street and a curb have different colours'
    assert steps.max() - steps.min() <= 2, 'equal ratios, equal steps'


@pytest.mark.parametrize(
    ('scale', 'text'),
    [
        (ScaleReport(), 'scale: network'),
        (ScaleReport('ground', 1.3, spread=0.084), 'scale: ground +-8 %'),
        (ScaleReport('calibration', 1.3, spread=0.1), 'scale: calibration +-10 %'),
        (ScaleReport('both', 1.3, spread=0.1), 'scale: calibration and ground +-10 %'),
        (ScaleReport('camera unknown'), 'camera unknown: scale is a guess'),
        (ScaleReport('relative'), 'relative depth: no unit'),
    ],
)
def test_a_depth_map_says_where_its_scale_comes_from(scale: ScaleReport, text: str) -> None:
    assert scale.words() == text
    depth = DepthMap(np.full((240, 320), 3, np.float32), typical(240, 320))
    row = slice(0, 20), slice(0, 200)
    plain, shown = (
        depth_picture(replace(depth, scale=one))[row] for one in (ScaleReport('?'), scale)
    )
    assert (plain != shown).any()


def test_a_depth_map_without_any_depth() -> None:
    depth = DepthMap(np.full((48, 64), np.nan, np.float32), typical(48, 64))
    assert (depth_picture(depth)[:40, :20] == UNKNOWN).all()


def test_a_sheet_says_what_is_missing() -> None:
    image = np.full((480, 640, 3), 90, np.uint8)
    empty = replace(
        result_for(480, 640),
        detections=None,
        depth=None,
        segmentation=None,
        failures={'depth': 'the network gave no finite depth'},
    )
    picture = sheet(image, empty)
    assert picture.shape == (960, 1280, 3)
    assert (picture[900, 100] == 30).all()
    reds = picture[480:520, 640:, 2].astype(int) - picture[480:520, 640:, 1]
    assert reds.max() > 100  # The failure is written in red.


@pytest.mark.parametrize('background', [colour(str(i), i) for i in range(80)] + NAMED)
def test_labels_can_be_read_on_every_colour(background: tuple[int, int, int]) -> None:
    """Contrast of at least 4.5 to 1, as WCAG 2.1 asks for text."""

    def luminance(bgr: tuple[int, int, int]) -> float:
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
            for c in (v / 255 for v in bgr)
        ]
        return 0.0722 * linear[0] + 0.7152 * linear[1] + 0.2126 * linear[2]

    low, high = sorted((luminance(background), luminance(ink_on(background))))
    assert (high + 0.05) / (low + 0.05) >= 4.5


def test_neighbouring_classes_have_different_colours() -> None:
    colours = [np.array(colour(str(i), i), float) for i in range(80)]
    for i in range(79):
        assert np.abs(colours[i] - colours[i + 1]).sum() > 100
    assert colour('person', 3) == colour('person', 70)


def test_lines_beyond_the_picture_are_cut() -> None:
    picture = np.zeros((40, 40, 3), np.uint8)
    draw_lines(picture, [Line('a very long line of text' * 9, LIGHT)] * 30, (-5, 20), DARK)
    draw_lines(picture, [], (100, 100), DARK)
    assert picture[20:].any()
    assert not picture[:18].any()


def test_labels_do_not_hide_a_better_one() -> None:
    boxes = np.float32([[20, 40, 90, 80]] * 10)
    names = tuple(f'class {i}' for i in range(10))
    scores = np.linspace(0.9, 0.5, 10).astype(np.float32)
    found = Detections(boxes, scores, np.arange(10), names)
    best = Detections(boxes[:1], scores[:1], np.arange(1), names)
    blank = np.zeros((120, 200, 3), np.uint8)
    width, height = text_size(blank, 'class 0 0.90')
    label = np.s_[40 - height : 40, 20 : 20 + width]
    alone = draw_detections(blank.copy(), best)[label]
    assert alone.any()
    np.testing.assert_array_equal(draw_detections(blank.copy(), found)[label], alone)


def test_ground_truth_has_no_scores() -> None:
    found = Detections(
        np.float32([[20, 40, 90, 80]]), np.ones(1, np.float32), np.zeros(1, int), LABELS
    )
    blank = np.zeros((120, 200, 3), np.uint8)
    scored, plain = (
        draw_detections(blank.copy(), found, 1.0, with_scores) for with_scores in (True, False)
    )
    assert (scored > 0).any(axis=2)[:40].sum() > (plain > 0).any(axis=2)[:40].sum()


def test_two_depth_maps_on_one_scale() -> None:
    near, far = (DepthMap(np.full((40, 60), d, np.float32), typical(40, 60)) for d in (2.0, 4.0))
    a, b = (depth_picture(depth, scale_end=5.0)[20, 10] for depth in (near, far))
    assert (a != b).any()
    same = [depth_picture(depth, scale_end=5.0)[20, 10] for depth in (near, near)]
    np.testing.assert_array_equal(*same)


def test_classes_near_red_are_not_persons() -> None:
    person = np.array(colour('person', 0), int)
    shades = [np.array(colour(f'class {i}', i), int) for i in range(80)]
    assert min(np.abs(shade - person).sum() for shade in shades) > 60


def test_a_class_keeps_its_colour_in_every_release() -> None:
    names = [*NAMED_CLASSES, *(f'class {i}' for i in range(30))]
    shades = [value for i, name in enumerate(names) for value in colour(name, i)]
    assert 0 <= min(shades) <= max(shades) <= 255
    assert zlib.crc32(bytes(shades)) == 320218217
    assert colour('person', 5) == (60, 60, 235)


def scene_of_everything() -> tuple[np.ndarray, Result]:
    """Labels above, in and below boxes and at every edge, classes large and small, all depths."""
    rows, columns = np.mgrid[:480, :640]
    image = np.stack([columns // 3, rows // 2, (columns + rows) // 6], axis=2).astype(np.uint8)
    boxes = [[300, 150, 420, 400], [310, 152, 400, 390], [0, 0, 90, 60], [500, 420, 640, 480],
             [305, 155, 410, 380], [150, 300, 152, 302]]  # fmt: skip
    labels = (*LABELS, 'wall', 'door', 'cup', 'cat', 'dog', 'table', 'chair')
    ids = (columns // 80 + rows // 240 * 8).astype(np.uint8)
    ids[ids >= len(labels)] = UNLABELLED
    ids[200:203, :300] = 9
    depth = np.geomspace(0.4, 60, 640, dtype=np.float32)[None].repeat(480, axis=0)
    depth[:40] = np.nan
    found = Detections(
        np.array(boxes, np.float32), np.linspace(0.95, 0.4, 6, dtype=np.float32),
        np.array([0, 2, 3, 0, 4, 1]), labels,
    )  # fmt: skip
    result = replace(
        result_for(480, 640),
        detections=found,
        depth=DepthMap(depth, typical(480, 640), assumed_intrinsics=True),
        segmentation=Segmentation(ids, labels),
        failures={'depth': 'no camera'},
    )
    return image, result


@pytest.mark.skipif(not cv2.__version__.startswith('5.'), reason='OpenCV 4 has other letters')
def test_pictures_look_as_recorded(tmp_path: Path) -> None:
    image, result = scene_of_everything()
    relative = replace(result.depth, relative=True)
    failed = replace(result, detections=None, segmentation=None)
    pictures = [
        draw(image, result),
        draw(image[::2, ::2], result_for(240, 320)),
        sheet(image, result),
        sheet(np.ascontiguousarray(image[:, :200]), failed),
        depth_picture(relative),
        depth_picture(result.depth, (120, 160), scale_end=8.0),
    ]
    small = [cv2.resize(each, (160, 120), interpolation=cv2.INTER_AREA) for each in pictures]
    made = np.vstack([np.hstack(small[i : i + 3]) for i in (0, 3)])
    cv2.imwrite(str(tmp_path / 'made.png'), made)
    recorded = cv2.imread(str(Path(__file__).parent / 'overlay.png'))
    difference = cv2.absdiff(made, recorded)
    assert difference.max() <= 12, f'look at {tmp_path}/made.png; if it is right, it is the record'


@pytest.mark.parametrize(('side', 'visible'), [(4, False), (6, True)])
def test_a_picture_of_few_pixels_has_a_map_of_two(side: int, visible: bool) -> None:
    depth = DepthMap(np.full((side, side), 0.1, np.float32), typical(side, side))
    without = replace(result_for(side, side), depth=None)
    image = np.zeros((side, side, 3), np.uint8)
    difference = cv2.absdiff(draw(image, replace(without, depth=depth)), draw(image, without))
    assert difference[side - 1, side - 1].any() == visible
