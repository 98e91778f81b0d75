# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Multiply-accumulates of an ONNX graph, counted from its shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import onnx

Shape = tuple[int, ...]


def count_macs(content: bytes, size: tuple[int, int] | None = None) -> int | None:
    """Count the multiply-accumulates of convolutions and matrix products in one run.

    Args:
        content: An ONNX file.
        size: (height, width) of the image, for inputs whose sides are not fixed.

    Returns:
        Multiply-accumulates; None if a shape is not known.
    """
    found = node_macs(onnx.load_model_from_string(content), size)
    return None if found is None else sum(found)


def node_macs(model: onnx.ModelProto, size: tuple[int, int] | None = None) -> list[int] | None:
    """Count as `count_macs`, for each node of a model in its order."""
    if size is not None:
        fixed = onnx.ModelProto()
        fixed.CopyFrom(model)
        _fix_image(fixed, size)
        model = fixed
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes: dict[str, Shape] = {each.name: tuple(each.dims) for each in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        shapes.setdefault(value.name, tuple(dims))
    found = []
    for node in graph.node:
        macs = 0
        if node.op_type in _MACS:
            try:
                macs = _MACS[node.op_type](node, shapes)
            except (KeyError, IndexError):
                return None
            if macs <= 0:
                return None
        found.append(macs)
    return found


def _fix_image(model: Any, size: tuple[int, int]) -> None:
    """Give the free sides of the image input a batch of one and this size."""
    for value in model.graph.input:
        sides = value.type.tensor_type.shape.dim
        if len(sides) != 4:
            continue
        last = sides[3].dim_value == 3 and sides[1].dim_value != 3
        wanted = (1, *size, 3) if last else (1, 3, *size)
        for side, number in zip(sides, wanted, strict=True):
            if not side.dim_value:
                side.dim_value = number


def _convolution(node: Any, shapes: Mapping[str, Shape]) -> int:
    """Every output element reads kernel × channels per group: weights are (out, in/g, k, k)."""
    return math.prod(shapes[node.output[0]]) * math.prod(shapes[node.input[1]][1:])


def _transposed(node: Any, shapes: Mapping[str, Shape]) -> int:
    """Every input element is spread: weights are (in, out/g, k, k)."""
    return math.prod(shapes[node.input[0]]) * math.prod(shapes[node.input[1]][1:])


def _product(node: Any, shapes: Mapping[str, Shape]) -> int:
    """(…, m, k) times (…, k, n); k is the last side of the first factor."""
    return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def _gemm(node: Any, shapes: Mapping[str, Shape]) -> int:
    """As a product, but the first factor may be transposed."""
    across = next((a.i for a in node.attribute if a.name == 'transA'), 0)
    return math.prod(shapes[node.output[0]]) * shapes[node.input[0]][0 if across else -1]


_MACS: Mapping[str, Callable[[Any, Mapping[str, Shape]], int]] = {
    'Conv': _convolution,
    'ConvTranspose': _transposed,
    'MatMul': _product,
    'Gemm': _gemm,
}
