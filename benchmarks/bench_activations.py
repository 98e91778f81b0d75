# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the trunk's SiLU costs: the same trunk with ReLU or hard-swish, in float and in 8 bits.

The weights stay as they are, so only the times mean anything. One thread, variants take turns.
Needs the package onnx (extra `train`).

Usage: python benchmarks/bench_activations.py [MODEL]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from interleaved import medians_ms
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from mt_perception.resources import find_model

ACTIVATIONS = ('SiLU', 'Relu', 'HardSwish')


class Images(CalibrationDataReader):  # type: ignore[misc]
    """Images of noise: how long a convolution takes does not depend on its ranges."""

    def __init__(self, image: NDArray[np.uint8]) -> None:
        self._feeds: Iterator[dict[str, Any]] = iter([{'image': image}])

    def get_next(self) -> dict[str, Any] | None:
        return next(self._feeds, None)


def with_activation(trunk: onnx.ModelProto, kind: str) -> onnx.ModelProto:
    """Replace every x · sigmoid(x) of a graph by one operator."""
    changed = onnx.ModelProto()
    changed.CopyFrom(trunk)
    if kind == 'SiLU':
        return changed
    gates = {node.output[0] for node in trunk.graph.node if node.op_type == 'Sigmoid'}
    nodes = []
    for node in trunk.graph.node:
        if node.op_type == 'Mul' and gates.intersection(node.input):
            (source,) = set(node.input) - gates
            nodes.append(onnx.helper.make_node(kind, [source], node.output, node.name))
        elif node.op_type != 'Sigmoid':
            nodes.append(node)
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


def main() -> None:
    model = find_model(sys.argv[1] if len(sys.argv) > 1 else 'cspnano')
    trunk = onnx.load(model / 'trunk.onnx')
    image = np.random.default_rng(0).integers(0, 256, (1, 320, 416, 3), np.uint8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {}
    with tempfile.TemporaryDirectory() as scratch:
        for kind in ACTIVATIONS:
            plain, ready, small = (Path(scratch) / f'{kind}{n}.onnx' for n in range(3))
            onnx.save(with_activation(trunk, kind), plain)
            quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
            quantize_static(
                str(ready), str(small), Images(image), per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
            for name, path in ((f'{kind}, float', plain), (f'{kind}, 8 bits', small)):
                sessions[name] = onnxruntime.InferenceSession(path, options)
    ms = medians_ms({n: lambda s=s: s.run(None, {'image': image}) for n, s in sessions.items()})
    first = ms['SiLU, float']
    for name, value in ms.items():
        print(f'{name:20} {value:6.2f} ms  {value / first:.3f}')


if __name__ == '__main__':
    main()
