# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tiny model with paths: a trunk that sees half as bright, smaller inputs, and a policy.

The policy sends bright images down the full path, dark ones down the cheaper ones, and all of them
further down as the budget shrinks: scores = [brightness + budget - 1, 0, -budget].
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper
from tiny_model import tiny_blocks, write_tiny_model

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
    write_tiny_model(folder)
    manifest = yaml.safe_load((folder / 'manifest.yaml').read_text())
    trunk = manifest['blocks']['trunk']
    manifest['variants'] = {
        'trunk_light': {
            'of': 'trunk',
            **_written(folder, 'trunk_light', half_bright_trunk()),
            'inputs': {'image': 'image'},
            'macs': trunk['macs'] // 2,
            'parameters': 0,
        }
    }
    manifest['paths'] = [
        _path('full', [], 1.0, 1.0, 0.50),
        _path('light', ['trunk_light'], 1.0, 0.6, 0.45),
        _path('small', ['trunk_light'], 0.5, 0.25, 0.30),
    ]
    if policy:
        manifest['policy'] = {
            **_written(folder, 'policy', policy_net()),
            'macs': POLICY_MACS,
            'parameters': 3,
            'size': [12, 16],
            'calibration': {},
        }
    if edit is not None:
        edit(manifest)
    (folder / 'manifest.yaml').write_text(yaml.safe_dump(manifest, sort_keys=False))
    return folder


def half_bright_trunk() -> onnx.ModelProto:
    """The trunk, with every feature at half its value."""
    proto = tiny_blocks()['trunk']
    (scale,) = (t for t in proto.graph.initializer if t.name == 'scale')
    scale.CopyFrom(numpy_helper.from_array(np.array(0.5 / 255, np.float32), 'scale'))
    return proto


def policy_net(paths: int = len(PATHS)) -> onnx.ModelProto:
    """Scores of the paths by the image's mean brightness and the budget."""
    nodes = [
        helper.make_node('Cast', ['image'], ['float'], to=TensorProto.FLOAT),
        helper.make_node('ReduceMean', ['float'], ['mean'], axes=[1, 2, 3], keepdims=0),
        helper.make_node('Reshape', ['mean', 'one'], ['row']),
        helper.make_node('MatMul', ['row', 'of_image'], ['by_image']),
        helper.make_node('MatMul', ['budget', 'of_budget'], ['by_budget']),
        # Its input must be read, to be one.
        helper.make_node('ReduceSum', ['tasks'], ['weight'], keepdims=1),
        helper.make_node('Mul', ['weight', 'zero'], ['nothing']),
        helper.make_node('Add', ['by_image', 'by_budget'], ['both']),
        helper.make_node('Add', ['both', 'bias'], ['biased']),
        helper.make_node('Add', ['biased', 'nothing'], ['scores']),
    ]
    rows = {
        'of_image': [[1 / 255, 0, 0]],
        'of_budget': [[1, 0, -1]],
        'bias': [[-1, 0, 0]],
    }
    weights = {name: np.array(row, np.float32)[:, :paths] for name, row in rows.items()}
    weights['zero'] = np.zeros((1, 1), np.float32)
    weights['one'] = np.array([1, 1], np.int64)
    inputs = [
        helper.make_tensor_value_info('image', TensorProto.UINT8, (1, 12, 16, 3)),
        helper.make_tensor_value_info('tasks', TensorProto.FLOAT, (1, 3)),
        helper.make_tensor_value_info('budget', TensorProto.FLOAT, (1, 1)),
    ]
    output = helper.make_tensor_value_info('scores', TensorProto.FLOAT, (1, paths))
    graph = helper.make_graph(
        nodes,
        'policy',
        inputs,
        [output],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)


def _written(folder: Path, name: str, proto: onnx.ModelProto) -> dict[str, str]:
    content = proto.SerializeToString()
    (folder / f'{name}.onnx').write_bytes(content)
    return {'file': f'{name}.onnx', 'sha256': hashlib.sha256(content).hexdigest()}


def _path(name: str, variants: list[str], scale: float, cost: float, accuracy: float) -> Any:
    return {
        'name': name,
        'variants': variants,
        'scale': scale,
        'relative_macs': cost,
        'relative_latency': cost,
        'accuracy': {'detection': accuracy, 'segmentation': accuracy, 'depth': 0.05 / accuracy},
    }
