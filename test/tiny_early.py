# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The tiny model with a second stage for detection and depth, and a gate for each.

The second stage halves the scores and doubles the depths, so that a test knows which stage served
a task. Detection gains the mean saturation of the image, depth its mean brightness.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from tiny_model import path_entry, tiny_graph, write_tiny_model, written

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
    folder.mkdir(parents=True, exist_ok=True)

    def add_second_stage(manifest: dict[str, Any]) -> None:
        for name, block in manifest['blocks'].items():
            block['macs'] = 300 if name == 'trunk' else 100
        for name, (proto, inputs, outputs) in _later_blocks().items():
            manifest['blocks'][name] = {
                **written(folder, name, proto),
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
            path_entry('full', 1.0, 0.50),
            path_entry('first', FIRST_MACS / 1000, 0.45, early=True),
            path_entry('small', 0.15, 0.30, scale=0.5, early=True),
        ]
        gates = {
            task: {
                **written(folder, f'gate_{task}', mean_gate(f'gate_{task}')),
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

    return write_tiny_model(folder, edit=add_second_stage)


def mean_gate(name: str, reciprocal: bool = False) -> onnx.ModelProto:
    """A gate whose gain is the mean of the values that it reads, or one over it."""
    values = [('values', TensorProto.FLOAT, None)]
    nodes = [
        ('ReduceMean', ['values'], ['mean'], {'keepdims': 0}),
        ('Reciprocal' if reciprocal else 'Identity', ['mean'], ['value'], {}),
        ('Reshape', ['value', 'shape'], ['gain'], {}),
    ]
    return tiny_graph(name, values, [_GAIN], nodes, {'shape': np.array([1, 1], np.int64)})


def _later_blocks() -> dict[str, tuple[onnx.ModelProto, dict[str, str], list[str]]]:
    image = ('image', TensorProto.UINT8, (1, 'H', 'W', 3))
    half, double = np.array(0.5, np.float32), np.array(2, np.float32)
    second = tiny_graph(
        'second',
        [image],
        [_FACTOR],
        [
            ('Cast', ['image'], ['float'], {'to': TensorProto.FLOAT}),
            ('ReduceMean', ['float'], ['mean'], {'keepdims': 0}),
            ('Mul', ['mean', 'zero'], ['nothing'], {}),
            ('Add', ['nothing', 'one'], ['factor'], {}),
        ],
        {'zero': np.array(0, np.float32), 'one': np.ones((1, 1, 1), np.float32)},
    )
    late_detection = tiny_graph(
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
    late_depth = tiny_graph(
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
