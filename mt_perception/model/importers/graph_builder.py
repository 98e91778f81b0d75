# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds small ONNX graphs node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 18, 8
"""ONNX Runtime 1.14 and later; Resize has an antialias filter since opset 18."""

Shape = Sequence[int | str | None]


class GraphBuilder:
    """A graph under construction.

    Args:
        name: Name of the graph.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    def input(self, name: str, kind: int, shape: Shape) -> str:
        """Add an input of an ONNX element type; returns its name."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, value: str, name: str, kind: int, shape: Shape) -> None:
        """Add an output of an ONNX element type, converted from a value."""
        cast = self.op('Cast', value, to=kind)
        self._nodes.append(helper.make_node('Identity', [cast], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, kind, shape))

    def constant(self, value: ArrayLike, dtype: DTypeLike = np.float32) -> str:
        """Add a constant; returns its name."""
        name = self._fresh('constant')
        self._weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def integers(self, *values: int) -> str:
        """Add a constant list of int64."""
        return self.constant(list(values), np.int64)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output; returns its name."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, count: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with several outputs; returns their names."""
        names = [self._fresh(kind.lower()) for _ in range(count)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def last(self, value: str, start: int, stop: int | None = None) -> str:
        """Slice the last axis from ``start`` to ``stop``."""
        end = np.iinfo(np.int64).max if stop is None else stop
        return self.op('Slice', value, self.integers(start), self.integers(end), self.integers(-1))

    def columns(self, value: str, *indices: int) -> str:
        """Pick elements of the last axis, in this order."""
        return self.op('Gather', value, self.integers(*indices), axis=-1)

    def build(self) -> onnx.ModelProto:
        """The graph as a checked model."""
        graph = helper.make_graph(
            self._nodes, self._name, self._inputs, self._outputs, self._weights
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid('', OPSET)], ir_version=IR_VERSION
        )
        onnx.checker.check_model(model)
        return model

    def _fresh(self, stem: str) -> str:
        self._count += 1
        return f'{stem}_{self._count}'


FLOAT, UINT8, INT64 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64
