# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tiny model with paths: a trunk that sees half as bright, smaller inputs, and a policy.

The policy sends bright images down the full path, dark ones down the cheaper ones, and all of them
further down as the budget shrinks: scores = [brightness + budget - 1, 0, -budget].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from tiny_model import (
    Node,
    Tensor,
    path_entry,
    tiny_blocks,
    tiny_graph,
    write_tiny_model,
    written,
)

PATHS = ('full', 'light', 'small')
COSTS = (1.0, 0.6, 0.25)
POLICY_MACS = 10


def write_tiny_paths(folder: Path, policy: bool = True, edit: Any = None) -> Path:
    """Write the model folder and return it.

    Args:
        folder: Where to.
        policy: Whether it has one.
        edit: Changes the manifest's data before it is written.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def add_paths(manifest: dict[str, Any]) -> None:
        manifest['variants'] = {
            'trunk_light': {
                'of': 'trunk',
                **written(folder, 'trunk_light', half_bright_trunk()),
                'inputs': {'image': 'image'},
                'macs': manifest['blocks']['trunk']['macs'] // 2,
                'parameters': 0,
            }
        }
        manifest['paths'] = [
            path_entry('full', 1.0, 0.50),
            path_entry('light', 0.6, 0.45, ['trunk_light']),
            path_entry('small', 0.25, 0.30, ['trunk_light'], scale=0.5),
        ]
        if policy:
            manifest['policy'] = {
                **written(folder, 'policy', policy_net()),
                'macs': POLICY_MACS,
                'parameters': 3,
                'size': [12, 16],
                'calibration': {},
            }
        if edit is not None:
            edit(manifest)

    return write_tiny_model(folder, edit=add_paths)


def half_bright_trunk() -> onnx.ModelProto:
    """The trunk, with every feature at half its value."""
    proto = tiny_blocks()['trunk']
    (scale,) = (t for t in proto.graph.initializer if t.name == 'scale')
    scale.CopyFrom(numpy_helper.from_array(np.array(0.5 / 255, np.float32), 'scale'))
    return proto


def policy_net(paths: int = len(PATHS)) -> onnx.ModelProto:
    """Scores of the paths by the image's mean brightness and the budget."""
    nodes: list[Node] = [
        ('Cast', ['image'], ['float'], {'to': TensorProto.FLOAT}),
        ('ReduceMean', ['float'], ['mean'], {'axes': [1, 2, 3], 'keepdims': 0}),
        ('Reshape', ['mean', 'one'], ['row'], {}),
        ('MatMul', ['row', 'of_image'], ['by_image'], {}),
        ('MatMul', ['budget', 'of_budget'], ['by_budget'], {}),
        # Its input must be read, to be one.
        ('ReduceSum', ['tasks'], ['weight'], {'keepdims': 1}),
        ('Mul', ['weight', 'zero'], ['nothing'], {}),
        ('Add', ['by_image', 'by_budget'], ['both'], {}),
        ('Add', ['both', 'bias'], ['biased'], {}),
        ('Add', ['biased', 'nothing'], ['scores'], {}),
    ]
    rows = {
        'of_image': [[1 / 255, 0, 0]],
        'of_budget': [[1, 0, -1]],
        'bias': [[-1, 0, 0]],
    }
    weights = {name: np.array(row, np.float32)[:, :paths] for name, row in rows.items()}
    weights['zero'] = np.zeros((1, 1), np.float32)
    weights['one'] = np.array([1, 1], np.int64)
    inputs: list[Tensor] = [
        ('image', TensorProto.UINT8, (1, 12, 16, 3)),
        ('tasks', TensorProto.FLOAT, (1, 3)),
        ('budget', TensorProto.FLOAT, (1, 1)),
    ]
    output = ('scores', TensorProto.FLOAT, (1, paths))
    return tiny_graph('policy', inputs, [output], nodes, weights)
