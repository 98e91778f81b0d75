# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Decoders of networks that return one value or class for each pixel, as ONNX nodes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from mt_perception.errors import ModelError
from mt_perception.model.importers.choice import DEPTH_OUTPUTS
from mt_perception.model.importers.foreign_network import Tensor
from mt_perception.model.importers.graph_builder import FLOAT, INT64, UINT8, GraphBuilder
from mt_perception.types import UNLABELLED

NO_CLASS = frozenset({'background', 'unlabelled', 'unlabeled', 'void', 'ignore'})
"""Names of classes that stand for no class."""

_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)


def segmentation_outputs(
    graph: GraphBuilder, value: str, output: Tensor, names: Sequence[str], content: str | None
) -> None:
    """Add ``class_ids`` uint8 (1, h, w) of logits or of class ids.

    Pixels of classes such as "background" become unlabelled.

    Args:
        graph: The graph, which has ``value``.
        value: The network's output in the graph.
        output: Its type and shape: logits (1, C, h, w) or (1, h, w, C), class ids (1, h, w),
            (1, 1, h, w) or (1, h, w, 1).
        names: Class names.
        content: Name of ``content`` (see ``preprocess``), if the image does not fill the input.

    Raises:
        ModelError: The shape fits neither.
    """
    shape, labels = output.shape, len(names)
    if len(shape) == 4 and shape[1] == labels and labels > 1:
        ids = graph.op('ArgMax', value, axis=1, keepdims=0)
    elif output.kind in _FLOATS and len(shape) == 4 and shape[1] < 0:
        # An export with free sides: logits (1, C, h, w), as all of torch's networks.
        ids = graph.op('ArgMax', value, axis=1, keepdims=0)
    elif len(shape) == 4 and shape[3] == labels and labels > 1:
        ids = graph.op('ArgMax', value, axis=3, keepdims=0)
    elif output.kind in _FLOATS and labels == 2 and 1 in shape[1:]:
        # One logit: the second class where it is positive.
        above = graph.op('Greater', value, graph.constant(0))
        ids = _flat(graph, graph.op('Cast', above, to=INT64), shape)
    else:
        ids = graph.op('Cast', _flat(graph, value, shape), to=INT64)
    for index, name in enumerate(names):
        if name.lower() in NO_CLASS:
            here = graph.op('Equal', ids, graph.constant(index, np.int64))
            ids = graph.op('Where', here, graph.constant(UNLABELLED, np.int64), ids)
    graph.output(_content(graph, ids, content), 'class_ids', UINT8, (1, 'h', 'w'))


def depth_outputs(
    graph: GraphBuilder, value: str, output: Tensor, kind: str, content: str | None
) -> None:
    """Add the depth output of a kind (see DEPTH_OUTPUTS), float32 (1, h, w).

    Raises:
        ModelError: The network's output is not a map.
    """
    name = DEPTH_OUTPUTS[kind]
    maps = _flat(graph, value, output.shape)
    graph.output(_content(graph, maps, content), name, FLOAT, (1, 'h', 'w'))


def _flat(graph: GraphBuilder, value: str, shape: tuple[int, ...]) -> str:
    """(1, h, w) of a map with further sides of 1."""
    if len(shape) == 3:
        return value
    if len(shape) == 2:
        return graph.op('Unsqueeze', value, graph.integers(0))
    if len(shape) == 4 and 1 in (shape[1], shape[3]):
        return graph.op('Squeeze', value, graph.integers(1 if shape[1] == 1 else 3))
    raise ModelError(f'expected one value for each pixel, found an output of shape {shape}')


def _content(graph: GraphBuilder, maps: str, content: str | None) -> str:
    """The part of (1, h, w) that the image covers."""
    if content is None:
        return maps
    # ``content`` is a fraction of the network's input: (h, w) in 0–1.
    shape = graph.op('Slice', graph.op('Shape', maps), graph.integers(1), graph.integers(3))
    covered = graph.op('Mul', graph.op('Cast', shape, to=FLOAT), content)
    # A whole number of cells may come out slightly larger.
    end = graph.op('Ceil', graph.op('Sub', covered, graph.constant(1e-3)))
    end = graph.op('Cast', end, to=INT64)
    axes = graph.constant(np.array([1, 2]), np.int64)
    return graph.op('Slice', maps, graph.integers(0, 0), end, axes)
