# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tiny model with a second stage for detection and depth, and a gate for each.

The second stage halves the scores and doubles the depths, so that a test knows which stage served
a task. Detection gains the mean saturation of the image, depth its mean brightness.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper
from tiny_model import write_tiny_model

FIRST_MACS, SECOND_MACS = 600, 400
"""MACs of the first stage, and of the second one: 200 shared, 100 for each task."""

_BOXES = ('boxes', TensorProto.FLOAT, (1, 'n', 4))
_SCORES = ('scores', TensorProto.FLOAT, (1, 'n'))
_IDS = ('class_ids', TensorProto.INT64, (1, 'n'))
_MAP = ('depth_per_focal', TensorProto.FLOAT, (1, 'h', 'w'))
_FACTOR = ('factor', TensorProto.FLOAT, (1, 1, 1))
_GAIN = ('gain', TensorProto.FLOAT, (1, 1))


def write_tiny_early(folder: Path, edit: Any = None) -> Path:
    """Write the model folder and return it; ``edit`` changes the manifest's data before."""
    write_tiny_model(folder)
    manifest = yaml.safe_load((folder / 'manifest.yaml').read_text())
    for name, block in manifest['blocks'].items():
        block['macs'] = 300 if name == 'trunk' else 100
    for name, (proto, inputs, outputs) in _later_blocks().items():
        manifest['blocks'][name] = {
            **_written(folder, name, proto),
            'inputs': inputs,
            'outputs': outputs,
            'macs': 200 if name == 'second' else 100,
            'parameters': 0,
            'skippable': False,
        }
    for task in ('detection', 'depth'):
        fields = manifest['tasks'][task]
        fields['early'] = fields['outputs']
        fields['outputs'] = {n: f'late_{task}/{n}' for n in fields['early']}
    manifest['paths'] = [
        _path('full', False, 1.0, 0.50),
        _path('first', True, FIRST_MACS / 1000, 0.45),
        {**_path('small', True, 0.15, 0.30), 'scale': 0.5},
    ]
    gates = {
        task: {
            **_written(folder, f'gate_{task}', mean_gate(f'gate_{task}')),
            'inputs': {'values': source},
            'macs': 0,
            'parameters': 0,
        }
        for task, source in (
            ('detection', 'detection/scores'),
            ('depth', 'depth/depth_per_focal'),
        )
    }
    manifest['early_exit'] = {'gates': gates, 'thresholds': {0.6: 2.0, 1.0: 0.0}}
    if edit is not None:
        edit(manifest)
    (folder / 'manifest.yaml').write_text(yaml.safe_dump(manifest, sort_keys=False))
    return folder


def mean_gate(name: str, reciprocal: bool = False) -> onnx.ModelProto:
    """A gate whose gain is the mean of the values that it reads, or one over it."""
    values = [('values', TensorProto.FLOAT, None)]
    nodes = [
        ('ReduceMean', ['values'], ['mean'], {'keepdims': 0}),
        ('Reciprocal' if reciprocal else 'Identity', ['mean'], ['value'], {}),
        ('Reshape', ['value', 'shape'], ['gain'], {}),
    ]
    return _graph(name, values, [_GAIN], nodes, {'shape': np.array([1, 1], np.int64)})


def _later_blocks() -> dict[str, tuple[onnx.ModelProto, dict[str, str], list[str]]]:
    image = ('image', TensorProto.UINT8, (1, 'H', 'W', 3))
    half, double = np.array(0.5, np.float32), np.array(2, np.float32)
    second = _graph(
        'second',
        [image],
        [_FACTOR],
        [
            ('ReduceMean', ['float'], ['mean'], {'keepdims': 0}),
            ('Mul', ['mean', 'zero'], ['nothing'], {}),
            ('Add', ['nothing', 'one'], ['factor'], {}),
        ],
        {'zero': np.array(0, np.float32), 'one': np.ones((1, 1, 1), np.float32)},
        cast='image',
    )
    late_detection = _graph(
        'late_detection',
        [(f'early_{n}', kind, shape) for n, kind, shape in (_BOXES, _SCORES, _IDS)] + [_FACTOR],
        [_BOXES, _SCORES, _IDS],
        [
            ('Identity', ['early_boxes'], ['boxes'], {}),
            ('Identity', ['early_class_ids'], ['class_ids'], {}),
            ('Mul', ['early_scores', 'half'], ['halved'], {}),
            ('ReduceMean', ['factor'], ['one'], {'keepdims': 0}),
            ('Mul', ['halved', 'one'], ['scores'], {}),
        ],
        {'half': half},
    )
    late_depth = _graph(
        'late_depth',
        [('early', TensorProto.FLOAT, (1, 'h', 'w')), _FACTOR],
        [_MAP],
        [
            ('Mul', ['early', 'double'], ['doubled'], {}),
            ('Mul', ['doubled', 'factor'], ['depth_per_focal'], {}),
        ],
        {'double': double},
    )
    names = ['boxes', 'scores', 'class_ids']
    factor = {'factor': 'second/factor'}
    return {
        'second': (second, {'image': 'image'}, ['factor']),
        'late_detection': (
            late_detection,
            {f'early_{n}': f'detection/{n}' for n in names} | factor,
            names,
        ),
        'late_depth': (
            late_depth,
            {'early': 'depth/depth_per_focal'} | factor,
            ['depth_per_focal'],
        ),
    }


def _graph(
    name: str, inputs: Any, outputs: Any, nodes: Any, weights: Any, cast: str = ''
) -> onnx.ModelProto:
    made = [helper.make_node(op, reads, makes, **how) for op, reads, makes, how in nodes]
    if cast:
        made.insert(0, helper.make_node('Cast', [cast], ['float'], to=TensorProto.FLOAT))
    graph = helper.make_graph(
        made,
        name,
        [helper.make_tensor_value_info(*tensor) for tensor in inputs],
        [helper.make_tensor_value_info(*tensor) for tensor in outputs],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)


def _written(folder: Path, name: str, proto: onnx.ModelProto) -> dict[str, str]:
    content = proto.SerializeToString()
    (folder / f'{name}.onnx').write_bytes(content)
    return {'file': f'{name}.onnx', 'sha256': hashlib.sha256(content).hexdigest()}


def _path(name: str, early: bool, cost: float, accuracy: float) -> dict[str, Any]:
    return {
        'name': name,
        'variants': [],
        'early': early,
        'scale': 1.0,
        'relative_macs': cost,
        'relative_latency': cost,
        'accuracy': {'detection': accuracy, 'segmentation': accuracy, 'depth': 0.05 / accuracy},
    }
