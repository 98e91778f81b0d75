# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoders of detectors on random outputs equal their formulas, written in numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mt_perception.errors import ModelError
from mt_perception.model.importers.detection_decoders import (
    BEST_PAIRS,
    DECODERS,
    MASK_COEFFICIENTS,
    Outputs,
    add_detection_outputs,
    boxes_and_classes,
    grid,
)
from mt_perception.model.importers.graph_builder import FLOAT, UINT8, GraphBuilder
from mt_perception.model.importers.map_decoders import depth_outputs, segmentation_outputs
from mt_perception.model.sessions import open_session

SIZE = (96, 160)
CLASSES = 3
Boxes = tuple[np.ndarray, np.ndarray]
"""Boxes (N, 4) and class scores (N, C)."""


def decoded(
    decoder: str, values: Sequence[np.ndarray], names: Sequence[str] = (), *,
    size: tuple[int, int] | None = SIZE, labels: int = CLASSES, scale: bool = False,
) -> list[np.ndarray]:  # fmt: skip
    """Boxes, scores and class ids of a decoder's graph."""
    graph, feeds = GraphBuilder('decoder'), {}
    for index, value in enumerate(values):
        feeds[graph.input(f'v{index}', FLOAT, value.shape)] = value.astype(np.float32)
    shapes = tuple(value.shape for value in values)
    names = tuple(names) or tuple(f'o{i}' for i in range(len(values)))
    found = DECODERS[decoder](graph, Outputs(tuple(feeds), shapes, size, labels, names))
    if scale:
        feeds[graph.input('scale', FLOAT, (4,))] = np.float32([2, 4, 2, 4])
    add_detection_outputs(graph, found, 'scale' if scale else None)
    session = open_session('decoder', graph.build().SerializeToString())
    return session.run(['boxes', 'scores', 'class_ids'], feeds)


def best_class(boxes: np.ndarray, scores: np.ndarray) -> list[np.ndarray]:
    return [boxes[None], scores.max(axis=1)[None], scores.argmax(axis=1)[None]]


def best_pairs(boxes: np.ndarray, scores: np.ndarray, most: int = 1000) -> list[np.ndarray]:
    order = np.argsort(-scores.ravel(), kind='stable')[:most]
    row, column = np.divmod(order, scores.shape[1])
    return [boxes[row][None], scores.ravel()[order][None], column[None]]


def assert_equal(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-3)


def corners(rows: np.ndarray) -> np.ndarray:
    """Of centres and sizes."""
    return np.concatenate([rows[:, :2] - rows[:, 2:] / 2, rows[:, :2] + rows[:, 2:] / 2], axis=1)


def cells(strides: Sequence[int], size: tuple[int, int] = SIZE) -> np.ndarray:
    """x, y and stride of every cell of all grids, row by row."""
    return np.array(
        [
            (x, y, stride)
            for stride in strides
            for y in range(-(-size[0] // stride))
            for x in range(-(-size[1] // stride))
        ],
        float,
    )


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.05, 1, shape)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def softmax(x: np.ndarray) -> np.ndarray:
    chances = np.exp(x - x.max(axis=-1, keepdims=True))
    return chances / chances.sum(axis=-1, keepdims=True)


def yolox() -> tuple[list[np.ndarray], list[np.ndarray]]:
    place = cells((8, 16, 32))
    rows = random(len(place), 8)
    rows[7, 2] = 21.5  # A size beyond exp(20) strides is cut.
    middle = (rows[:, :2] + place[:, :2]) * place[:, 2:]
    size = np.exp(np.minimum(rows[:, 2:4], 20)) * place[:, 2:]
    boxes = corners(np.concatenate([middle, size], axis=1))
    return [rows[None]], best_class(boxes, rows[:, 4:5] * rows[:, 5:])


def yolov5() -> tuple[list[np.ndarray], list[np.ndarray]]:
    rows = random(500, 8)
    return [rows[None]], best_pairs(corners(rows[:, :4]), rows[:, 4:5] * rows[:, 5:])


def yolov8(masks: int, turned: bool) -> Callable[[], tuple[list[np.ndarray], list[np.ndarray]]]:
    def make() -> tuple[list[np.ndarray], list[np.ndarray]]:
        rows = random(50, 4 + CLASSES + masks)
        given = rows[None].transpose(0, 2, 1) if turned else rows[None]
        return [given], best_pairs(corners(rows[:, :4]), rows[:, 4 : 4 + CLASSES])

    return make


def detr() -> tuple[list[np.ndarray], list[np.ndarray]]:
    logits, boxes = random(30, CLASSES) * 8 - 4, random(30, 4, seed=1)
    pixels = corners(boxes) * (160, 96, 160, 96)
    return [logits[None], boxes[None]], best_pairs(pixels, sigmoid(logits))


def detr_softmax() -> tuple[list[np.ndarray], list[np.ndarray]]:
    logits, boxes = random(30, CLASSES + 1) * 8 - 4, random(30, 4, seed=1)
    pixels = corners(boxes) * (160, 96, 160, 96)
    # The boxes come first here, beside as many class scores: the names tell.
    return [boxes[None], logits[None]], best_class(pixels, softmax(logits)[:, :-1])


def ssd() -> tuple[list[np.ndarray], list[np.ndarray]]:
    boxes, chances = random(40, 4, seed=1), random(40, CLASSES + 1)
    return [boxes[None], chances[None]], best_pairs(boxes * (160, 96, 160, 96), chances[:, 1:])


def distribution_boxes(sides: np.ndarray, place: np.ndarray, bins: int, offset: float) -> Any:
    distance = softmax(sides.reshape(-1, 4, bins)) @ np.arange(bins) * place[:, 2:]
    middle = (place[:, :2] + offset) * place[:, 2:]
    return np.concatenate([middle - distance[:, :2], middle + distance[:, 2:]], axis=1)


def picodet() -> tuple[list[np.ndarray], list[np.ndarray]]:
    place = cells((8, 16, 32, 64))
    scores, sides = random(len(place), CLASSES), random(len(place), 4 * 8, seed=1) * 9
    ends = np.cumsum([np.sum(place[:, 2] == stride) for stride in (8, 16, 32)])
    given = [part[None] for whole in (scores, sides) for part in np.split(whole, ends)]
    return given, best_pairs(distribution_boxes(sides, place, 8, 0.5), scores)


def nanodet(*strides: int) -> Callable[[], tuple[list[np.ndarray], list[np.ndarray]]]:
    def make() -> tuple[list[np.ndarray], list[np.ndarray]]:
        place = cells(strides)
        rows = random(len(place), CLASSES + 4 * 5)
        boxes = distribution_boxes(rows[:, CLASSES:], place, 5, 0.0)
        return [rows[None]], best_class(boxes, rows[:, :CLASSES])

    return make


def fastestdet() -> tuple[list[np.ndarray], list[np.ndarray]]:
    maps = random(5 + CLASSES, 6, 10)
    boxes, scores = [], []
    for y in range(6):
        for x in range(10):
            cell = maps[:, y, x]
            middle = (np.tanh(cell[1]) + x) * 16, (np.tanh(cell[2]) + y) * 16
            boxes.append([*middle, sigmoid(cell[3]) * 160, sigmoid(cell[4]) * 96])
            scores.append(cell[5:] ** 0.4 * cell[0] ** 0.6)
    return [maps[None]], best_class(corners(np.array(boxes)), np.array(scores))


def table(boxes: int, score: int, class_id: int, columns: int, batch: bool) -> Any:
    def make() -> tuple[list[np.ndarray], list[np.ndarray]]:
        rows = random(9, columns)
        rows[:, class_id] = np.arange(9) % 3
        found = [rows[None, :, boxes : boxes + 4], rows[None, :, score], rows[None, :, class_id]]
        return [rows[None] if batch else rows], found

    return make


@pytest.mark.parametrize(
    ('decoder', 'make', 'names'),
    [
        ('yolox', yolox, ()),
        ('yolov5', yolov5, ()),
        ('yolov8', yolov8(0, turned=True), ()),
        ('yolov8', yolov8(0, turned=False), ()),
        ('yolov8', yolov8(32, turned=True), ()),
        ('yolov8', yolov8(32, turned=False), ()),
        ('yolo-nms', table(0, 4, 5, 6, batch=True), ()),
        ('yolov7-nms', table(1, 6, 5, 7, batch=False), ()),
        ('paddle-nms', table(2, 1, 0, 6, batch=False), ()),
        ('detr', detr, ()),
        ('detr-softmax', detr_softmax, ('pred_boxes', 'pred_logits')),
        ('ssd', ssd, ('loc', 'scores')),
        ('picodet', picodet, ()),
        ('nanodet', nanodet(8, 16, 32, 64), ()),
        ('nanodet', nanodet(8, 16, 32), ()),
        ('fastestdet', fastestdet, ()),
    ],
)
def test_decoders_equal_their_formulas(decoder: str, make: Any, names: Sequence[str]) -> None:
    given, expected = make()
    found = decoded(decoder, given, names)
    assert [one.dtype for one in found] == [np.float32, np.float32, np.int64]
    assert_equal(found, expected)


def test_boxes_are_divided_by_the_scale_of_the_image() -> None:
    given, (boxes, scores, class_ids) = table(0, 4, 5, 6, batch=True)()
    assert_equal(decoded('yolo-nms', given, scale=True), [boxes / (2, 4, 2, 4), scores, class_ids])


def test_outputs_by_name() -> None:
    boxes, scores, ids = random(5, 4), random(5, seed=1), np.arange(5.0)
    for batch in (True, False):
        given = [value[None] if batch else value for value in (ids, boxes, scores)]
        expected = [boxes[None], scores[None], ids[None]]
        names = ('Labels', 'Boxes', 'Scores')
        assert_equal(decoded('labelled-boxes', given, names), expected)
        given[0] = given[0] + 1
        assert_equal(decoded('torchvision', given, names), expected)
        names = ('detection_classes', 'detection_boxes', 'detection_scores')
        pixels = boxes[:, [1, 0, 3, 2]] * (160, 96, 160, 96)
        assert_equal(decoded('ssd-tensorflow', given, names), [pixels[None], *expected[1:]])
    with pytest.raises(ModelError, match='no output is called box; found a, b'):
        decoded('labelled-boxes', given[:2], ('a', 'b'))


def test_limits_of_decoders() -> None:
    assert (BEST_PAIRS, MASK_COEFFICIENTS) == (1000, 32)
    for decoder, shapes, says in (
        ('yolox', [(1, 315, 9)], 'has 4 classes and there are 3 labels'),
        ('yolox', [(1, 316, 8)], '316 boxes do not fit strides 8, 16, 32 at 160x96, .* have 315'),
        ('yolov5', [(1, 5, 7)], 'has 2 classes'),
        ('yolov8', [(1, 50, 9)], 'has 5 classes'),
        ('yolov8', [(1, 9, 50)], 'has 5 classes'),
        ('picodet', [(1, 9, 4), (1, 9, 32)], 'has 4 classes'),
        ('nanodet', [(1, 315, 3 + 4)], '7 columns are not 3 classes and 4 distributions'),
        ('nanodet', [(1, 315, 3 + 21)], '24 columns are not'),
        ('fastestdet', [(1, 9, 6, 10)], 'has 4 classes'),
        ('detr', [(1, 9, 5), (1, 9, 6)], r'expected boxes \(1, N, 4\) and class scores'),
    ):
        with pytest.raises(ModelError, match=says):
            decoded(decoder, [np.zeros(shape) for shape in shapes])
    with pytest.raises(ModelError, match='needs a fixed input size'):
        decoded('fastestdet', [random(1, 8, 6, 10)], size=None)
    # The fewest bins, and a number of classes that is not fixed.
    decoded('nanodet', [random(1, 315, 3 + 8)])
    Outputs((), (), None, 3).check_classes(-1)
    with pytest.raises(ModelError, match='has 0 classes'):
        Outputs((), (), None, 3).check_classes(0)


def test_cells_of_grids() -> None:
    places, strides = grid((33, 70), (16, 32))
    expected = cells((16, 32), (33, 70))
    np.testing.assert_array_equal(np.concatenate([places, strides], axis=1), expected)
    assert (places.dtype, strides.dtype) == (np.float32, np.float32)


@pytest.mark.parametrize(
    ('shapes', 'names', 'found'),
    [
        ([(1, 9, 4), (1, 9, 7)], 'ab', (0, 1)),
        ([(1, 9, 7), (1, 9, 4)], 'ab', (1, 0)),
        ([(1, 9), (1, 9, 7), (1, 9, 4)], 'abc', (2, 1)),
        ([(1, 9, 4), (1, 9, 4)], ('logits', 'Boxes'), (1, 0)),
        ([(1, 9, 4), (1, 9, 4)], ('loc', 'conf'), (0, 1)),
        ([(1, 9, 4), (1, 9, 4)], 'ab', None),
        ([(1, 9, 4)], 'a', None),
        ([(1, 9, 7), (1, 9, 5)], 'ab', None),
        ([(9, 4), (1, 9, 5)], 'ab', None),
    ],
)
def test_which_output_has_the_boxes(shapes: Any, names: Any, found: Any) -> None:
    assert boxes_and_classes(shapes, list(names)) == found


def maps(
    add: Callable[..., None], value: np.ndarray, *arguments: Any, kind: int = FLOAT,
    shape: tuple[int, ...] | None = None, content: np.ndarray | None = None,
) -> np.ndarray:  # fmt: skip
    """The output of a decoder of maps."""
    graph, feeds = GraphBuilder('maps'), {}
    sides = [None if side < 0 else side for side in shape or value.shape]
    feeds[graph.input('v', kind, sides)] = value
    if content is not None:
        feeds[graph.input('content', FLOAT, (2,))] = content.astype(np.float32)
    output = SimpleNamespace(kind=kind, shape=shape or value.shape)
    add(graph, 'v', output, *arguments, None if content is None else 'content')
    model = graph.build()
    return open_session('maps', model.SerializeToString()).run(None, feeds)[0]


NAMES = ('background', 'cup', 'Void')


@pytest.mark.parametrize(
    ('form', 'kind'),
    [
        ('nchw', FLOAT), ('nhwc', FLOAT), ('free', FLOAT), ('ids', UINT8), ('planes', UINT8),
        ('last', UINT8), ('flat', UINT8),
    ],
)  # fmt: skip
def test_label_images_of_every_form(form: str, kind: int) -> None:
    """On 5 rows of 7 pixels; classes that stand for none become 255."""
    ids = np.random.default_rng(0).integers(0, 3, (1, 5, 7)).astype(np.uint8)
    logits = np.eye(3, dtype=np.float32)[ids] * 9 + random(1, 5, 7, 3).astype(np.float32)
    value = {
        'nchw': logits.transpose(0, 3, 1, 2), 'nhwc': logits, 'free': logits.transpose(0, 3, 1, 2),
        'ids': ids, 'planes': ids[:, None], 'last': ids[..., None], 'flat': ids[0],
    }[form]  # fmt: skip
    value = np.ascontiguousarray(value)
    shape = (-1, -1, -1, -1) if form == 'free' else value.shape
    found = maps(segmentation_outputs, value, NAMES, kind=kind, shape=shape)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, np.array([255, 1, 255], np.uint8)[ids])


def test_one_logit_of_two_classes() -> None:
    logits = np.linspace(-1, 1, 35, dtype=np.float32).reshape(1, 1, 5, 7)
    logits[0, 0, 2, 2] = 0
    for value in (logits, logits.reshape(1, 5, 7, 1)):
        found = maps(segmentation_outputs, value, ('floor', 'cup'))
        np.testing.assert_array_equal(found, (logits[0] > 0).astype(np.uint8))


def test_maps_are_cut_to_the_image() -> None:
    """To whole cells, the last of which may be covered in part; less than a thousandth is none."""
    values = np.arange(80, dtype=np.float32).reshape(1, 8, 10)
    for content, rows, columns in (((0.5, 0.75), 4, 8), ((1, 1), 8, 10), ((0.50012, 0.7), 4, 7),
                                   ((0.5003, 0.7002), 5, 8)):  # fmt: skip
        for shape in ((1, 8, 10), (1, 1, 8, 10), (1, 8, 10, 1), (8, 10)):
            given = values.reshape(shape)
            found = maps(depth_outputs, given, 'metric', content=np.array(content))
            np.testing.assert_array_equal(found, values[:, :rows, :columns])
    with pytest.raises(ModelError, match=r'one value for each pixel, found .* 2, 8, 10'):
        maps(depth_outputs, np.zeros((1, 2, 8, 10), np.float32), 'metric')
    with pytest.raises(ModelError, match='one value for each pixel'):
        maps(depth_outputs, np.zeros((8,), np.float32), 'metric')
