# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A model folder that is tiny but real: it sees colours, so a test knows what must come out.

The trunk averages 8×8 cells of the image into ``trunk/s8`` (blue, green, red in [0, 1]).
detection: one 32×32 box around every cell; its score is the cell's saturation (max - min
channel), its class the strongest channel. Grey images therefore have no detections.
segmentation: blue, green, red, or grey where no channel stands out.
depth: ``depth_per_focal`` = DEPTH_OF_WHITE × brightness; black has no depth.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

CELL = 8
BOX = 32
COLOURS = ('blue', 'green', 'red')
SEGMENTS = (*COLOURS, 'grey')
DEPTH_OF_WHITE = 0.02
"""Metres per pixel of focal length where the image is white."""
SIZE = 64


def write_tiny_model(
    folder: Path,
    *,
    replace: Mapping[str, onnx.ModelProto] | None = None,
    edit: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Write the model folder and return it.

    Args:
        folder: Where to; made if it is missing.
        replace: Block name → another graph for it, for instance a head that fails.
        edit: Changes the manifest's data before it is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    manifest = _manifest()
    for name, proto in {**tiny_blocks(), **(replace or {})}.items():
        manifest['blocks'][name] |= written(folder, name, proto)
    if edit is not None:
        edit(manifest)
    (folder / 'manifest.yaml').write_text(yaml.safe_dump(manifest, sort_keys=False))
    return folder


def tiny_blocks() -> dict[str, onnx.ModelProto]:
    """The four graphs: trunk, detection, segmentation, depth."""
    return {
        'trunk': _trunk(),
        'detection': _detection(),
        'segmentation': _segmentation(),
        'depth': depth_head(DEPTH_OF_WHITE / 3),
    }


def depth_head(weight: float) -> onnx.ModelProto:
    """A depth head: the cell's sum of channels times ``weight``; NaN and Inf are allowed."""
    return tiny_graph(
        'depth',
        [_FEATURES],
        [('depth_per_focal', TensorProto.FLOAT, (1, 'h', 'w'))],
        [
            ('Conv', ['s8', 'weight'], ['map'], {}),
            ('Squeeze', ['map', 'axis'], ['depth_per_focal'], {}),
        ],
        {'weight': np.full((1, 3, 1, 1), weight, np.float32), 'axis': np.array([1], np.int64)},
    )


def fragile_head() -> onnx.ModelProto:
    """A depth head that works until it sees a wholly black image, and then raises.

    It gathers element 1 of a list of one where the brightest channel is below 0.01.
    """
    return tiny_graph(
        'fragile',
        [_FEATURES],
        [('depth_per_focal', TensorProto.FLOAT, (1, 'h', 'w'))],
        [
            ('ReduceMax', ['s8'], ['most'], {'keepdims': 0}),
            ('Less', ['most', 'limit'], ['black'], {}),
            ('Cast', ['black'], ['index'], {'to': TensorProto.INT64}),
            ('Gather', ['one', 'index'], ['scale'], {}),
            ('ReduceMean', ['s8'], ['brightness'], {'axes': [1], 'keepdims': 0}),
            ('Mul', ['brightness', 'scale'], ['depth_per_focal'], {}),
        ],
        {
            'limit': np.array(0.01, np.float32),
            'one': np.array([DEPTH_OF_WHITE], np.float32),
        },
    )


def nan_on_black_head() -> onnx.ModelProto:
    """A depth head that divides by brightness: NaN where the image is black, else constant."""
    return tiny_graph(
        'nan_on_black',
        [_FEATURES],
        [('depth_per_focal', TensorProto.FLOAT, (1, 'h', 'w'))],
        [
            ('ReduceMean', ['s8'], ['brightness'], {'axes': [1], 'keepdims': 0}),
            ('Div', ['brightness', 'brightness'], ['one'], {}),
            ('Mul', ['one', 'depth'], ['depth_per_focal'], {}),
        ],
        {'depth': np.array(DEPTH_OF_WHITE, np.float32)},
    )


def with_confidence(folder: Path, slope: float = 1.0, offset: float = 0.0) -> Path:
    """Write the model folder with a confidence of the segmentation."""
    segmentation = _segmentation()
    logits = helper.make_tensor_value_info('logits', TensorProto.FLOAT, (1, 4, 'h', 'w'))
    segmentation.graph.output.append(logits)

    def add(manifest: dict[str, Any]) -> None:
        manifest['blocks']['segmentation']['outputs'] = ['class_ids', 'logits']
        manifest['tasks']['segmentation']['confidence'] = {
            'logits': 'segmentation/logits',
            'slope': slope,
            'offset': offset,
        }

    return write_tiny_model(folder, replace={'segmentation': segmentation}, edit=add)


def broken_head(output: str = 'depth_per_focal') -> onnx.ModelProto:
    """A head that loads and then raises whenever it runs: it reshapes to 7 numbers."""
    return tiny_graph(
        'broken',
        [_FEATURES],
        [(output, TensorProto.FLOAT, (1, 'h', 'w'))],
        [('Reshape', ['s8', 'shape'], [output], {})],
        {'shape': np.array([1, 7, 1], np.int64)},
    )


_FEATURES = ('s8', TensorProto.FLOAT, (1, 3, 'h', 'w'))
Tensor = tuple[str, int, 'tuple[int | str, ...] | None']
Node = tuple[str, list[str], list[str], dict[str, Any]]


def _trunk() -> onnx.ModelProto:
    return tiny_graph(
        'trunk',
        [('image', TensorProto.UINT8, (1, 'H', 'W', 3))],
        [_FEATURES],
        [
            ('Cast', ['image'], ['float'], {'to': TensorProto.FLOAT}),
            ('Transpose', ['float'], ['planes'], {'perm': [0, 3, 1, 2]}),
            ('Mul', ['planes', 'scale'], ['scaled'], {}),
            (
                'AveragePool',
                ['scaled'],
                ['s8'],
                {'kernel_shape': [CELL, CELL], 'strides': [CELL, CELL]},
            ),
        ],
        {'scale': np.array(1 / 255, np.float32)},
    )


def _detection() -> onnx.ModelProto:
    """Boxes around the centres of all cells; the grid of any size comes from sums of ones."""
    return tiny_graph(
        'detection',
        [_FEATURES],
        [
            ('boxes', TensorProto.FLOAT, (1, 'n', 4)),
            ('scores', TensorProto.FLOAT, (1, 'n')),
            ('class_ids', TensorProto.INT64, (1, 'n')),
        ],
        [
            ('ReduceMax', ['s8'], ['most'], {'axes': [1], 'keepdims': 1}),
            ('ReduceMin', ['s8'], ['least'], {'axes': [1], 'keepdims': 1}),
            ('Sub', ['most', 'least'], ['saturation'], {}),
            ('Reshape', ['saturation', 'row'], ['scores'], {}),
            ('ArgMax', ['s8'], ['strongest'], {'axis': 1, 'keepdims': 1}),
            ('Reshape', ['strongest', 'row'], ['class_ids'], {}),
            ('Mul', ['most', 'zero'], ['zeros'], {}),
            ('Add', ['zeros', 'cell'], ['ones'], {}),
            ('CumSum', ['ones', 'axis_x'], ['right'], {}),
            ('CumSum', ['ones', 'axis_y'], ['bottom'], {}),
            ('Concat', ['right', 'bottom', 'right', 'bottom'], ['corners'], {'axis': 1}),
            ('Add', ['corners', 'offsets'], ['planes'], {}),
            ('Transpose', ['planes'], ['cells'], {'perm': [0, 2, 3, 1]}),
            ('Reshape', ['cells', 'rows'], ['boxes'], {}),
        ],
        {
            # 0 keeps the batch as it is.
            'row': np.array([0, -1], np.int64),
            'rows': np.array([0, -1, 4], np.int64),
            'zero': np.array(0, np.float32),
            'cell': np.array(CELL, np.float32),
            'axis_x': np.array(3, np.int64),
            'axis_y': np.array(2, np.int64),
            'offsets': (
                np.array([-BOX, -BOX, BOX, BOX], np.float32).reshape(1, 4, 1, 1) / 2 - CELL / 2
            ),
        },
    )


def _segmentation() -> onnx.ModelProto:
    """Each channel's distance from the mean of the three; grey wins below 0.15."""
    weight = np.zeros((4, 3, 1, 1), np.float32)
    weight[:3, :, 0, 0] = np.eye(3) - 1 / 3
    return tiny_graph(
        'segmentation',
        [_FEATURES],
        [('class_ids', TensorProto.UINT8, (1, 'h', 'w'))],
        [
            ('Conv', ['s8', 'weight', 'bias'], ['logits'], {}),
            ('ArgMax', ['logits'], ['ids'], {'axis': 1, 'keepdims': 0}),
            ('Cast', ['ids'], ['class_ids'], {'to': TensorProto.UINT8}),
        ],
        {'weight': weight, 'bias': np.array([0, 0, 0, 0.15], np.float32)},
    )


def tiny_graph(
    name: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    nodes: Sequence[Node],
    weights: Mapping[str, np.ndarray],
) -> onnx.ModelProto:
    """A graph of nodes (operator, inputs, outputs, attributes)."""
    graph = helper.make_graph(
        [helper.make_node(op, reads, makes, **options) for op, reads, makes, options in nodes],
        name,
        [helper.make_tensor_value_info(*tensor) for tensor in inputs],
        [helper.make_tensor_value_info(*tensor) for tensor in outputs],
        [numpy_helper.from_array(value, key) for key, value in weights.items()],
    )
    # Opset 17 and IR 8 load in every ONNX Runtime since 1.12 (Humble's time).
    return helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)


def written(folder: Path, name: str, proto: onnx.ModelProto) -> dict[str, str]:
    """Write a graph; the manifest's fields of its file."""
    content = proto.SerializeToString()
    (folder / f'{name}.onnx').write_bytes(content)
    return {'file': f'{name}.onnx', 'sha256': hashlib.sha256(content).hexdigest()}


def path_entry(
    name: str,
    cost: float,
    accuracy: float,
    variants: Sequence[str] = (),
    scale: float = 1.0,
    early: bool = False,
) -> dict[str, Any]:
    """The manifest's entry of a path."""
    return {
        'name': name,
        'variants': list(variants),
        'early': early,
        'scale': scale,
        'relative_macs': cost,
        'relative_latency': cost,
        'accuracy': {'detection': accuracy, 'segmentation': accuracy, 'depth': 0.05 / accuracy},
    }


def _manifest() -> dict[str, Any]:
    cells = (SIZE // CELL) ** 2

    def block(inputs: dict[str, str], outputs: list[str], macs: int, weights: int) -> Any:
        return {
            'inputs': inputs,
            'outputs': outputs,
            'macs': macs,
            'parameters': weights,
            'skippable': False,
        }

    features = {'s8': 'trunk/s8'}
    blocks = {
        'trunk': block({'image': 'image'}, ['s8'], SIZE * SIZE * 3, 0),
        'detection': block(features, ['boxes', 'scores', 'class_ids'], 0, 0),
        'segmentation': block(features, ['class_ids'], cells * 12, 16),
        'depth': block(features, ['depth_per_focal'], cells * 3, 3),
    }
    return {
        'format': 1,
        'name': 'tiny',
        'version': '1',
        'licence': 'Apache-2.0',
        'description': 'Sees colours; for tests.',
        'input': {'size': SIZE, 'min_size': 32, 'max_size': 512, 'multiple': 8, 'pad_value': 114},
        'reference_size': [SIZE, SIZE],
        'blocks': blocks,
        'tasks': {
            'detection': {
                'kind': 'detection',
                'outputs': {n: f'detection/{n}' for n in ('boxes', 'scores', 'class_ids')},
                'labels': list(COLOURS),
            },
            'segmentation': {
                'kind': 'segmentation',
                'outputs': {'class_ids': 'segmentation/class_ids'},
                'labels': list(SEGMENTS),
            },
            'depth': {
                'kind': 'depth',
                'outputs': {'depth_per_focal': 'depth/depth_per_focal'},
                'labels': [],
            },
        },
        'accuracy': [],
    }
