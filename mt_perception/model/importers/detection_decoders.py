# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoders of detectors as ONNX nodes: from a network's outputs to boxes, scores and class ids.

A decoder returns boxes (1, N, 4) x0 y0 x1 y1 in network pixels, scores (1, N) and class ids
(1, N). Class scores (1, N, C) become either the best class of each box or the best pairs of box
and class, as the network's own evaluation does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ModelError
from mt_perception.model.importers.graph_builder import FLOAT, INT64, GraphBuilder

BEST_PAIRS = 1000
"""Pairs of box and class that are kept of a detector with several classes for one box."""

MASK_COEFFICIENTS = 32
"""Columns of an instance segmentation network of Ultralytics behind its classes."""

_LARGEST_EXPONENT = 20.0


@dataclass(frozen=True)
class Candidates:
    """Names of values of a graph: boxes (1, N, 4), scores (1, N), class_ids (1, N)."""

    boxes: str
    scores: str
    class_ids: str


@dataclass(frozen=True)
class Outputs:
    """Outputs of a network inside a decoder's graph.

    Attributes:
        values: Names of the values in the graph, float32, in the network's order.
        shapes: Their shapes; -1 for a side that is not fixed.
        size: (H, W) of the network's input; None if it is not fixed.
        labels: Number of labels.
        names: The network's own names of the outputs.
    """

    values: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    size: tuple[int, int] | None
    labels: int
    names: tuple[str, ...] = field(default=())

    def fixed_size(self) -> tuple[int, int]:
        """The size of a network whose boxes depend on it.

        Raises:
            ModelError: The size is not fixed.
        """
        if self.size is None:
            raise ModelError(
                'this decoder needs a fixed input size; give one with --size, such as 640x640'
            )
        return self.size

    def check_classes(self, found: int) -> None:
        """Check that a network with ``found`` classes has as many labels.

        Raises:
            ModelError: The numbers differ.
        """
        if found >= 0 and found != self.labels:
            raise ModelError(
                f'the network has {found} classes and there are {self.labels} labels; name the '
                'file with the right class names'
            )

    def named(self, *stems: str) -> str:
        """The output whose name contains one of these words.

        Raises:
            ModelError: There is none.
        """
        for value, name in zip(self.values, self.names, strict=True):
            if any(stem in name.lower() for stem in stems):
                return value
        raise ModelError(
            f'no output is called {" or ".join(stems)}; found {", ".join(self.names)}'
        )


Decode = Callable[[GraphBuilder, Outputs], Candidates]


def grid(
    size: tuple[int, int], strides: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Column and row (N, 2) and stride (N, 1) of the cells of several grids, in order."""
    cells, all_strides = [], []
    for stride in strides:
        height, width = -(-size[0] // stride), -(-size[1] // stride)
        row, column = np.divmod(np.arange(height * width), width)
        cells.append(np.stack([column, row], axis=1))
        all_strides.append(np.full((height * width, 1), stride))
    return (
        np.concatenate(cells).astype(np.float32),
        np.concatenate(all_strides).astype(np.float32),
    )


def _grid_of(
    outputs: Outputs, strides: Sequence[int], count: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    size = outputs.fixed_size()
    cells, all_strides = grid(size, strides)
    if count not in (len(cells), -1):
        raise ModelError(
            f'{count} boxes do not fit strides {", ".join(map(str, strides))} at '
            f'{size[1]}x{size[0]}, which have {len(cells)}'
        )
    return cells, all_strides


def _corners(graph: GraphBuilder, centre: str, size: str) -> str:
    """Boxes of centres and sizes, both (1, N, 2)."""
    half = graph.op('Mul', size, graph.constant(0.5))
    first, second = graph.op('Sub', centre, half), graph.op('Add', centre, half)
    return graph.op('Concat', first, second, axis=-1)


def _from_centres(graph: GraphBuilder, rows: str) -> str:
    """Boxes of rows cx cy w h."""
    return _corners(graph, graph.last(rows, 0, 2), graph.last(rows, 2, 4))


def _in_pixels(graph: GraphBuilder, boxes: str, outputs: Outputs) -> str:
    """Boxes of coordinates relative to the image's sides."""
    height, width = outputs.fixed_size()
    return graph.op('Mul', boxes, graph.constant([width, height, width, height]))


def _best_class(graph: GraphBuilder, boxes: str, class_scores: str) -> Candidates:
    scores = graph.op('ReduceMax', class_scores, graph.integers(-1), keepdims=0)
    return Candidates(boxes, scores, graph.op('ArgMax', class_scores, axis=-1, keepdims=0))


def _best_pairs(graph: GraphBuilder, boxes: str, class_scores: str) -> Candidates:
    flat = graph.op('Reshape', class_scores, graph.integers(1, -1))
    limit = graph.op('Min', graph.last(graph.op('Shape', flat), 1), graph.integers(BEST_PAIRS))
    scores, found = graph.ops('TopK', 2, flat, limit, axis=-1)
    classes = graph.last(graph.op('Shape', class_scores), 2)
    class_ids = graph.op('Mod', found, classes)
    place = graph.op('Unsqueeze', graph.op('Div', found, classes), graph.integers(-1))
    place = graph.op('Expand', place, graph.integers(1, 1, 4))
    return Candidates(graph.op('GatherElements', boxes, place, axis=1), scores, class_ids)


def yolox(graph: GraphBuilder, outputs: Outputs) -> Candidates:
    """YOLOX (arXiv 2107.08430) without decoding: (1, N, 5 + C) on grids of strides 8, 16, 32."""
    rows = outputs.values[0]
    outputs.check_classes(outputs.shapes[0][2] - 5)
    cells, strides = _grid_of(outputs, (8, 16, 32), outputs.shapes[0][1])
    stride = graph.constant(strides)
    centre = graph.op('Add', graph.last(rows, 0, 2), graph.constant(cells))
    exponent = graph.op('Min', graph.last(rows, 2, 4), graph.constant(_LARGEST_EXPONENT))
    boxes = _corners(
        graph,
        graph.op('Mul', centre, stride),
        graph.op('Mul', graph.op('Exp', exponent), stride),
    )
    return _best_class(graph, boxes, _with_objectness(graph, rows))


def _with_objectness(graph: GraphBuilder, rows: str) -> str:
    return graph.op('Mul', graph.last(rows, 5), graph.last(rows, 4, 5))


def yolov5(graph: GraphBuilder, outputs: Outputs) -> Candidates:
    """YOLOv5, v6, v7 and decoded YOLOX: (1, N, 5 + C) cx cy w h in pixels, objectness, classes."""
    rows = outputs.values[0]
    outputs.check_classes(outputs.shapes[0][2] - 5)
    return _best_pairs(graph, _from_centres(graph, rows), _with_objectness(graph, rows))


def yolov8(graph: GraphBuilder, outputs: Outputs) -> Candidates:
    """YOLOv8, v9, 11 and alike: (1, 4 + C, N) or (1, N, 4 + C) cx cy w h in pixels, classes.

    The coefficients of instance masks behind the classes are not used.
    """
    rows, (_, second, last) = outputs.values[0], outputs.shapes[0]
    end = 4 + outputs.labels
    if second in (end, end + MASK_COEFFICIENTS):
        rows = graph.op('Transpose', rows, perm=[0, 2, 1])
    elif last not in (end, end + MASK_COEFFICIENTS):
        outputs.check_classes(min(second, last) - 4)
    return _best_pairs(graph, _from_centres(graph, rows), graph.last(rows, 4, end))


def _rows(boxes: int, score: int, class_id: int) -> Decode:
    """One row for each detection, (1, N, K) or (N, K), with these columns."""

    def decode(graph: GraphBuilder, outputs: Outputs) -> Candidates:
        rows = outputs.values[0]
        if len(outputs.shapes[0]) == 2:
            rows = graph.op('Unsqueeze', rows, graph.integers(0))

        def column(index: int) -> str:
            return graph.op('Squeeze', graph.last(rows, index, index + 1), graph.integers(-1))

        return Candidates(graph.last(rows, boxes, boxes + 4), column(score), column(class_id))

    return decode


def detr(graph: GraphBuilder, outputs: Outputs) -> Candidates:
    """DETR with sigmoid (RT-DETR, D-FINE, RF-DETR): logits (1, N, C), boxes cx cy w h in 0–1."""
    boxes, logits = _boxes_and_scores(outputs)
    found = _in_pixels(graph, _from_centres(graph, boxes), outputs)
    return _best_pairs(graph, found, graph.op('Sigmoid', logits))


def detr_softmax(graph: GraphBuilder, outputs: Outputs) -> Candidates:
    """DETR (arXiv 2005.12872): as `detr`, with softmax and a last class "no object"."""
    boxes, logits = _boxes_and_scores(outputs)
    found = _in_pixels(graph, _from_centres(graph, boxes), outputs)
    chances = graph.op('Softmax', logits, axis=-1)
    return _best_class(graph, found, graph.last(chances, 0, -1))


def boxes_and_classes(
    shapes: Sequence[tuple[int, ...]], names: Sequence[str]
) -> tuple[int, int] | None:
    """Indices of the outputs boxes (1, N, 4) and class scores (1, N, C); None without a pair."""
    planes = [index for index, shape in enumerate(shapes) if len(shape) == 3]
    boxes = [index for index in planes if shapes[index][2] == 4]
    if len(boxes) > 1:
        # With four columns of class scores the names tell.
        boxes = [i for i in boxes if any(stem in names[i].lower() for stem in ('box', 'loc'))]
    others = [index for index in planes if index not in boxes]
    return (boxes[0], others[0]) if boxes and others else None


def _boxes_and_scores(outputs: Outputs) -> tuple[str, str]:
    found = boxes_and_classes(outputs.shapes, outputs.names)
    if found is None:
        raise ModelError(
            f'expected boxes (1, N, 4) and class scores (1, N, C), found {outputs.shapes}'
        )
    return outputs.values[found[0]], outputs.values[found[1]]


def labelled_boxes(graph: GraphBuilder, outputs: Outputs) -> Candidates:
    """Outputs ``labels``, ``boxes`` x0 y0 x1 y1 in pixels and ``scores`` (D-FINE, torchvision)."""
    return Candidates(
        _batched(graph, outputs, 'box', 3),
        _batched(graph, outputs, 'score', 2),
        _batched(graph, outputs, 'label', 2),
    )


def torchvision(graph: GraphBuilder, outputs: Outputs) -> Candidates:
    """As `labelled_boxes`, with class ids from 1 (0 is the background)."""
    found = labelled_boxes(graph, outputs)
    class_ids = graph.op('Sub', found.class_ids, graph.constant(1))
    return Candidates(found.boxes, found.scores, class_ids)


def ssd_tensorflow(graph: GraphBuilder, outputs: Outputs) -> Candidates:
    """TensorFlow's detection API: boxes y0 x0 y1 x1 in 0–1, class ids from 1."""
    boxes = graph.columns(_batched(graph, outputs, 'boxes', 3), 1, 0, 3, 2)
    class_ids = graph.op('Sub', _batched(graph, outputs, 'classes', 2), graph.constant(1))
    return Candidates(
        _in_pixels(graph, boxes, outputs), _batched(graph, outputs, 'scores', 2), class_ids
    )


def _batched(graph: GraphBuilder, outputs: Outputs, stem: str, rank: int) -> str:
    """An output by its name, with a batch axis."""
    value = outputs.named(stem)
    shape = outputs.shapes[outputs.values.index(value)]
    return graph.op('Unsqueeze', value, graph.integers(0)) if len(shape) < rank else value


def ssd(graph: GraphBuilder, outputs: Outputs) -> Candidates:
    """SSD (arXiv 1512.02325): boxes x0 y0 x1 y1 in 0–1, probabilities with background first."""
    boxes, chances = _boxes_and_scores(outputs)
    return _best_pairs(graph, _in_pixels(graph, boxes, outputs), graph.last(chances, 1))


def picodet(graph: GraphBuilder, outputs: Outputs) -> Candidates:
    """PicoDet (arXiv 2111.00902): scores (1, n, C) and sides (1, n, 4 · bins) of four strides."""
    levels = len(outputs.values) // 2
    outputs.check_classes(outputs.shapes[0][2])
    class_scores = graph.op('Concat', *outputs.values[:levels], axis=1)
    sides = graph.op('Concat', *outputs.values[levels:], axis=1)
    counts = [shape[1] for shape in outputs.shapes[:levels]]
    strides = (8, 16, 32, 64)[:levels]
    boxes = _distribution_boxes(
        graph, outputs, sides, outputs.shapes[-1][-1] // 4, strides, sum(counts), 0.5
    )
    return _best_pairs(graph, boxes, class_scores)


def nanodet(graph: GraphBuilder, outputs: Outputs) -> Candidates:
    """NanoDet-Plus: (1, N, C + 4 · bins), class scores and sides of strides 8, 16, 32, 64."""
    rows, (_, count, width) = outputs.values[0], outputs.shapes[0]
    bins = (width - outputs.labels) // 4
    if bins < 2 or (width - outputs.labels) % 4:
        raise ModelError(f'{width} columns are not {outputs.labels} classes and 4 distributions')
    strides: tuple[int, ...] = (8, 16, 32, 64)
    if outputs.size is not None and count == len(grid(outputs.size, strides[:3])[0]):
        strides = strides[:3]
    sides = graph.last(rows, outputs.labels)
    boxes = _distribution_boxes(graph, outputs, sides, bins, strides, count, 0.0)
    return _best_class(graph, boxes, graph.last(rows, 0, outputs.labels))


def _distribution_boxes(
    graph: GraphBuilder,
    outputs: Outputs,
    sides: str,
    bins: int,
    strides: Sequence[int],
    count: int,
    offset: float,
) -> str:
    """Boxes whose sides are the means of distributions (GFL, arXiv 2006.04388, eq. 5)."""
    cells, all_strides = _grid_of(outputs, strides, count)
    stride = graph.constant(all_strides)
    chances = graph.op('Softmax', _split_bins(graph, sides, bins), axis=-1)
    mean = graph.op('MatMul', chances, graph.constant(np.arange(bins)[:, None]))
    distance = graph.op('Mul', graph.op('Squeeze', mean, graph.integers(-1)), stride)
    centre = graph.constant((cells + offset) * all_strides)
    first = graph.op('Sub', centre, graph.last(distance, 0, 2))
    second = graph.op('Add', centre, graph.last(distance, 2, 4))
    return graph.op('Concat', first, second, axis=-1)


def _split_bins(graph: GraphBuilder, sides: str, bins: int) -> str:
    """(1, N, 4 · bins) as (1, N, 4, bins)."""
    return graph.op('Reshape', sides, graph.integers(1, -1, 4, bins))


def fastestdet(graph: GraphBuilder, outputs: Outputs) -> Candidates:
    """FastestDet: one grid (1, 5 + C, h, w) of objectness, box and classes."""
    height, width = outputs.fixed_size()
    _, channels, rows, columns = outputs.shapes[0]
    outputs.check_classes(channels - 5)
    flat = graph.op('Reshape', outputs.values[0], graph.integers(1, channels, -1))
    cells = graph.op('Transpose', flat, perm=[0, 2, 1])
    place = np.stack(np.divmod(np.arange(rows * columns), columns)[::-1], axis=1)
    offset = graph.op('Tanh', graph.last(cells, 1, 3))
    centre = graph.op('Add', offset, graph.constant(place))
    centre = graph.op('Mul', centre, graph.constant([width / columns, height / rows]))
    size = graph.op('Sigmoid', graph.last(cells, 3, 5))
    size = graph.op('Mul', size, graph.constant([width, height]))
    objectness = graph.op('Pow', graph.last(cells, 0, 1), graph.constant(0.6))
    classes = graph.op('Pow', graph.last(cells, 5), graph.constant(0.4))
    return _best_class(graph, _corners(graph, centre, size), graph.op('Mul', classes, objectness))


DECODERS: Mapping[str, Decode] = {
    'yolox': yolox,
    'yolov5': yolov5,
    'yolov8': yolov8,
    'yolo-nms': _rows(boxes=0, score=4, class_id=5),
    'yolov7-nms': _rows(boxes=1, score=6, class_id=5),
    'paddle-nms': _rows(boxes=2, score=1, class_id=0),
    'detr': detr,
    'detr-softmax': detr_softmax,
    'labelled-boxes': labelled_boxes,
    'torchvision': torchvision,
    'picodet': picodet,
    'nanodet': nanodet,
    'ssd': ssd,
    'ssd-tensorflow': ssd_tensorflow,
    'fastestdet': fastestdet,
}
"""Name of a decoder → the function that adds it to a graph."""


def add_detection_outputs(graph: GraphBuilder, found: Candidates, scale: str | None) -> None:
    """Add the outputs of a detection task; boxes are divided by ``scale`` (4,) if there is one."""
    boxes = found.boxes if scale is None else graph.op('Div', found.boxes, scale)
    graph.output(boxes, 'boxes', FLOAT, (1, 'n', 4))
    graph.output(found.scores, 'scores', FLOAT, (1, 'n'))
    graph.output(found.class_ids, 'class_ids', INT64, (1, 'n'))
