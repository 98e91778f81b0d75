# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where pictures have their labels, legends and scales, to the pixel."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from mt_perception.geometry.camera import typical
from mt_perception.image.overlay import (
    depth_picture,
    depth_scale_end,
    draw,
    draw_detections,
    draw_segmentation,
    draw_status,
    sheet,
)
from mt_perception.image.palette import DARK, LIGHT, UNKNOWN, WARNING, colour
from mt_perception.image.text import Line, draw_lines, text_height, text_size
from mt_perception.reports import Execution, ScaleReport
from mt_perception.types import UNLABELLED, DepthMap, Detections, Result, Segmentation

RUN = Execution(('depth',), ('trunk',), 'full', 'all', 1_234_000_000, (64, 96), {'total': 5.4})
STATUS = '5 ms   full   96x64   1.23 GMAC'
INFERNO = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0]


def blank(height: int, width: int, value: int = 0) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def depth_map(metres: np.ndarray, **fields: object) -> DepthMap:
    return DepthMap(metres.astype(np.float32), typical(*metres.shape), **fields)


def test_text_grows_with_the_picture() -> None:
    sides = {100: 12, 429: 12, 650: 18, 1300: 36, 2600: 72, 3900: 108, 9000: 108}
    for side, height in sides.items():
        for shape in ((7, side, 3), (side, 7, 3)):
            assert text_height(np.broadcast_to(np.uint8(0), shape)) == height


@pytest.mark.parametrize('corner', [(31, 17), (-9, -4)])
def test_a_block_of_lines(corner: tuple[int, int]) -> None:
    """Lines without letters: a block, as wide as the widest line, and squares of colour."""
    picture = blank(90, 700, 200)
    row = text_height(picture)
    assert row == 19
    lines = [Line('', LIGHT), Line('', LIGHT, chip=(1, 2, 3)), Line('', LIGHT)]
    x, y = max(0, corner[0]), max(0, corner[1])
    expected = picture.copy()
    block = np.floor(200 * (1 - 0.65) + np.array(DARK) * 0.65)
    expected[y : y + 3 * row, x : x + row // 2 + row] = block
    left, top, side = x + row // 4, y + row, row // 5
    expected[top + side : top + row - side + 1, left : left + row - 2 * side + 1] = 1, 2, 3
    np.testing.assert_array_equal(draw_lines(picture, lines, corner, DARK), expected)
    ink = draw_lines(blank(90, 700), [Line('H', LIGHT, chip=DARK)], (31, 17), (0, 0, 0), 1.0)
    rows, columns = np.nonzero((ink > 100).all(axis=2))
    assert abs(rows.max() - (17 + round(0.71 * row))) <= 1
    assert abs(columns.min() - (31 + row // 4 + row)) <= 2


def found(boxes: Sequence[Sequence[float]], names: Sequence[str] = ()) -> Detections:
    names = names or [f'class {i}' for i in range(len(boxes))]
    scores = np.linspace(0.9, 0.5, len(boxes)).astype(np.float32)
    return Detections(np.float32(boxes), scores, np.arange(len(boxes)), tuple(names))


def place_of(picture: np.ndarray, number: int, size: tuple[int, int]) -> tuple[int, int] | None:
    """Upper left corner of a label: a block of the class's colour in all four corners."""
    width, height = size
    same = (picture == colour(f'class {number}', number)).all(axis=2)
    ys, xs = np.nonzero(
        same[: 1 - height, : 1 - width] & same[height - 1 :, : 1 - width]
        & same[: 1 - height, width - 1 :] & same[height - 1 :, width - 1 :]
    )  # fmt: skip
    return (int(xs[0]), int(ys[0])) if len(xs) else None


def test_places_of_labels() -> None:
    """Above the box, in it at its upper edge, at its lower edge, below it, or nowhere."""
    picture = blank(140, 300)
    size = text_size(picture, 'class 0 0.90')
    width, height = size
    box = [20, 40, 40 + width, 100]
    draw_detections(picture, found([box] * 5))
    places = [place_of(picture, number, size) for number in range(5)]
    assert places == [(20, 40 - height), (20, 40), (20, 100 - height), (20, 100), None]
    # Beside another label there is place, and nowhere beyond the picture.
    for shift, top in ((0, 40 - height), (-1, 40)):
        right = [20 + width + shift, 40, 60 + 2 * width, 100]
        for pair in ([box, right], [right, box]):
            drawn = draw_detections(blank(140, 300), found(pair))
            assert place_of(drawn, 1, size) == (int(pair[1][0]), top)
    for top, expected in ((height, 0), (height - 1, height - 1)):
        drawn = draw_detections(blank(140, 300), found([[20, top, 200, 100]]))
        assert place_of(drawn, 0, size) == (20, expected)
    for x0, left in ((-7, 0), (300 - width, 300 - width), (301 - width, 300 - width)):
        drawn = draw_detections(blank(140, 300), found([[x0, 40, 299, 100]]))
        assert place_of(drawn, 0, size) == (left, 40 - height)
    for shift, seen in ((0, True), (1, False)):
        low = 140 - height + shift
        drawn = draw_detections(blank(140, 300), found([[20, low + height - 150, 200, low]] * 2))
        assert (place_of(drawn, 1, size) is not None) == seen


@pytest.mark.parametrize(('width', 'thick'), [(100, 1), (500, 1), (1000, 2)])
def test_boxes_end_where_their_pixels_end(width: int, thick: int) -> None:
    picture = draw_detections(blank(120, width), found([[20.4, 60, 80, 89.6]]), 0.5, False)
    drawn = (picture == colour('class 0', 0)).all(axis=2)
    # The box is 10..39 by 30..44; thicker lines are centred.
    lines = np.flatnonzero(drawn[38])
    assert lines.min() == 10 - thick // 2
    assert lines.max() == 39 + thick // 2
    assert np.flatnonzero(drawn[:, 30]).max() == 44 + thick // 2


@pytest.mark.parametrize(
    ('shape', 'size'),
    [
        ((300, 1000), (288, 960)), ((300, 960), (300, 960)), ((300, 640), (300, 640)),
        ((250, 500), (320, 640)), ((1, 1000), (2, 960)), ((1000, 1), (960, 2)),
    ],
)  # fmt: skip
def test_panels_of_a_sheet(shape: tuple[int, int], size: tuple[int, int]) -> None:
    """Large images are averaged, small ones interpolated; a panel without a result is dark."""
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    result = Result(1, '', None, None, None, RUN, failures={'depth': 'no camera'})
    picture = sheet(image, result)
    rows, columns = size
    assert picture.shape == (2 * rows, 2 * columns, 3)
    how = cv2.INTER_AREA if max(shape) > 960 else cv2.INTER_CUBIC
    clean = np.asarray(cv2.resize(image, size[::-1], interpolation=how)).reshape(*size, 3)
    panels = [picture[y : y + rows, x : x + columns] for y in (0, rows) for x in (0, columns)]
    given = draw_lines(clean.copy(), [Line(STATUS, LIGHT), Line('depth: no camera', WARNING)],
                       (0, 0), DARK)  # fmt: skip
    np.testing.assert_array_equal(panels[0], given)
    for panel, task in zip(panels[1:], ('detection', 'segmentation', 'depth'), strict=True):
        failed = task == 'depth'
        reason = Line(f'{task}: no camera', WARNING) if failed else Line(f'{task}: not run', LIGHT)
        np.testing.assert_array_equal(panel, draw_lines(clean // 3, [reason], (0, 0), DARK))


def test_the_status_line() -> None:
    picture = draw_status(blank(60, 400), Result(1, '', None, None, None, RUN))
    expected = draw_lines(blank(60, 400), [Line(STATUS, LIGHT)], (0, 0), DARK)
    np.testing.assert_array_equal(picture, expected)
    untimed = Execution((), (), 'full', '', 1_234_000_000, (64, 96), {})
    picture = draw_status(blank(60, 400), Result(1, '', None, None, None, untimed))
    expected = [Line(STATUS.replace('5 ms', '0 ms'), LIGHT)]
    np.testing.assert_array_equal(picture, draw_lines(blank(60, 400), expected, (0, 0), DARK))


def test_the_depth_inset() -> None:
    """Three tenths of each side in the lower right corner, with a border."""
    depth = depth_map(np.geomspace(0.5, 40, 50 * 70).reshape(50, 70))
    picture = draw(blank(50, 70), Result(1, '', None, depth, None, RUN))
    inset = depth_picture(depth, (15, 21))
    cv2.rectangle(inset, (0, 0), (21, 15), LIGHT, 1)
    np.testing.assert_array_equal(picture[-15:, -21:], inset)
    assert not picture[20:-15].any()
    assert not picture[20:, :-21].any()


def test_the_legend() -> None:
    """At most eight classes, the largest first, from half a percent of the pixels."""
    pixels = [9000, 12000, 8000, 199, 3000, 200, 2000, 1000, 900, 800, 700]

    def chips(counts: Sequence[int]) -> list[int]:
        labels = tuple(f'kind {i}' for i in range(len(counts)))
        ids = np.repeat(np.arange(len(counts)), counts).astype(np.uint8)
        ids = np.concatenate([ids, np.full(40_000 - len(ids), UNLABELLED, np.uint8)])
        picture = draw_segmentation(blank(200, 200), Segmentation(ids.reshape(200, 200), labels))
        row = text_height(picture)
        column = picture[:, row // 4 + row // 3]
        shades = {colour(label, i): i for i, label in enumerate(labels)}
        seen = [
            shades.get(tuple(map(int, pixel))) for pixel in column[row // 2 + 200 % row :: row]
        ]
        return [i for i in seen if i is not None]

    assert chips(pixels) == [1, 0, 2, 4, 6, 7, 8, 9]
    assert chips(pixels[:6]) == [1, 0, 2, 4, 5]


def test_shades_of_depth() -> None:
    """From the end of the scale to a tenth of it; pictures this small have no scale."""
    metres = np.array([[20, 40, 2, 1, 20 / 10**0.5, 12.3, np.nan], [19, 3, 7, 5, 2.1, 9, 6]])
    share = np.clip(1 + np.log10(metres / 20), 0, 1)
    known = np.isfinite(metres)
    shades = np.where(known, 255 - 254 * np.where(known, share, 0), 0).astype(int)
    expected = INFERNO[shades]
    expected[~known] = UNKNOWN
    picture = depth_picture(depth_map(metres), scale_end=20.0)
    assert np.abs(picture.astype(int) - expected).max() <= 4
    np.testing.assert_array_equal(picture[0, :4], INFERNO[[1, 1, 255, 255]])
    assert tuple(picture[0, 6]) == UNKNOWN


def test_the_end_of_a_depth_scale() -> None:
    ends = (0.5, 1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 100)
    for end, following in zip(ends, (*ends[1:], 100), strict=True):
        metres = np.full((40, 40), np.nan, np.float32)
        metres[::4, ::4] = end
        assert depth_scale_end(metres) == end
        assert depth_scale_end(metres * np.float32(1.001)) == following
    # Every fourth pixel of every fourth row counts; 2 % may lie beyond.
    metres[:] = 90
    metres[::4, ::4] = 1
    assert depth_scale_end(metres) == 1
    metres[0, [0, 4]] = 60
    assert depth_scale_end(metres) == 3, 'interpolated between 1 and 60: 2.2'
    assert depth_scale_end(np.full((5, 5), np.inf, np.float32)) == 100


def scale_rows(height: int, width: int, metres: float = 20.0) -> tuple[np.ndarray, np.ndarray]:
    """A picture of one distance with its scale, and where it differs from that distance."""
    picture = depth_picture(depth_map(np.full((height, width), metres)), scale_end=metres)
    return picture, (picture != INFERNO[1]).any(axis=2)


def test_the_bar_of_a_depth_scale() -> None:
    picture, drawn = scale_rows(123, 260)
    row = text_height(picture)
    assert row == 12
    # 5 pixels wide, half of it from the right-hand edge, a line of text from the others.
    top, bottom, right = 12, 111, 258
    assert drawn[top : bottom + 1, right - 5 : right + 1].all()
    assert not drawn[:top, right - 5 : right + 1].any()
    assert not drawn[bottom + 1 :, right - 5 : right + 1].any()
    assert not drawn[40:60, right + 1 :].any()
    for edge in (
        picture[top, right - 5 : right + 1],
        picture[bottom, right - 5 : right + 1],
        picture[top : bottom + 1, right - 5],
        picture[top : bottom + 1, right],
    ):
        assert (edge == LIGHT).all()
    bar = cv2.resize(INFERNO[:, None], (1, bottom - top))
    np.testing.assert_array_equal(picture[top + 1 : bottom, right - 3], bar[1:, 0])
    shares = {'20 m': 1, '10 m': 0.69897, '4 m': 0.30103, '2 m': 0}
    rows = np.zeros(123, bool)
    for text, share in shares.items():
        y = round(bottom - share * (bottom - top)) - 6
        rows[y : y + row] = True
        left = right - 5 - text_size(picture, text)[0]
        assert drawn[y : y + row, left].all()
        assert not drawn[y : y + row, left - 1].any() or share == 1
    np.testing.assert_array_equal(drawn[:, right - 6], rows)


def test_a_scale_needs_room() -> None:
    """Three lines of text for two marks, eight for four; twice the width of a mark."""
    for height, marks in ((59, 0), (60, 2), (119, 2), (120, 4)):
        _, drawn = scale_rows(height, 260)
        column = drawn[:, 258 - 6].astype(int)
        assert np.count_nonzero(np.diff(column, prepend=0) == 1) == marks, height
    mark = text_size(blank(123, 90), '2 m')[0]
    for width, visible in ((2 * mark + 2, False), (2 * mark + 3, True)):
        assert scale_rows(123, width)[1].any() == visible
    note = text_size(blank(123, 250), ScaleReport().words())[0]
    for width, visible in ((note + mark + 3, False), (note + mark + 4, True)):
        assert scale_rows(123, width)[1][:8, :9].any() == visible


@pytest.mark.parametrize(
    ('fields', 'text', 'ink'),
    [
        ({}, 'scale: network', LIGHT),
        ({'scale': ScaleReport('ground', 1.3, spread=0.084)}, 'scale: ground +-8 %', LIGHT),
        ({'assumed_intrinsics': True}, 'camera unknown: scale is a guess', WARNING),
        ({'assumed_intrinsics': True, 'scale': ScaleReport('ground', 1.3, spread=0.084)},
         'scale: ground +-8 %', LIGHT),
        ({'relative': True}, 'relative depth: no unit', WARNING),
    ],
)  # fmt: skip
def test_the_note_of_a_depth_scale(fields: dict[str, object], text: str, ink: object) -> None:
    picture = depth_picture(depth_map(np.full((123, 400), 20.0), **fields), scale_end=20.0)
    plain = np.broadcast_to(INFERNO[1], (123, 400, 3)).copy()
    expected = draw_lines(plain, [Line(text, ink)], (0, 0), DARK)  # type: ignore[arg-type]
    np.testing.assert_array_equal(picture[:, :300], expected[:, :300])


@pytest.mark.parametrize(('side', 'least', 'most'), [(300, 1, 1), (1300, 2, 5), (2600, 3, 10)])
def test_strokes_grow_with_the_letters(side: int, least: int, most: int) -> None:
    white = draw_lines(blank(120, side), [Line('I', (255, 255, 255))], (0, 0), (0, 0, 0), 1.0)
    row = text_height(white)
    stroke = np.count_nonzero(white[round(row * 0.71) - round(row * 0.3), :, 0] > 100)
    assert least <= stroke <= most
