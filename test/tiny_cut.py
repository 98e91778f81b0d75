# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A tiny model folder that can be cut: the remote half sees the colours that the local one sees.

The encoder averages cells of 8×8 pixels into a latent of three channels, 0 to 255. Rate 0 keeps
steps of 32 grey levels, rate 1 of 8, rate 2 of 1; the decoder scales them to the trunk's ``s8``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from tiny_model import CELL, tiny_blocks, tiny_graph, write_tiny_model, written

from mt_perception.offload.codec import CodecRate, CodecTables
from mt_perception.offload.codec_tables import write_tables
from mt_perception.offload.entropy_coder import TOTAL, FrequencyTable

STEPS = (32.0, 8.0, 1.0)


def write_tiny_cut(folder: Path, *, edit: Callable[[dict[str, Any]], None] | None = None) -> Path:
    """Write the model folder and return it; `edit` changes the manifest before it is written."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = write_tables(tiny_tables())
    (folder / 'codec.json').write_bytes(tables)
    protos = {'encoder': _encoder(), 'decoder': _decoder()}
    protos |= {f'remote_{n}': _batched(p) for n, p in tiny_blocks().items() if n != 'trunk'}
    files = {name: written(folder, name, proto) for name, proto in protos.items()}

    def add_cut(manifest: dict[str, Any]) -> None:
        local = manifest['blocks']

        def entry(file: str, like: dict[str, Any], **changes: Any) -> dict[str, Any]:
            return {**like, **files[file], **changes}

        remote = {'decoder': entry('decoder', local['trunk'], inputs={'latent': 'latent'})}
        for task in ('detection', 'segmentation', 'depth'):
            remote[task] = entry(f'remote_{task}', local[task], inputs={'s8': 'decoder/s8'})
        manifest['cut'] = {
            'encoder': entry('encoder', local['trunk'], outputs=['latent']),
            'tables': {'file': 'codec.json', 'sha256': hashlib.sha256(tables).hexdigest()},
            'channels': 3,
            'stride': CELL,
            'rates': [{'payload_bytes': b, 'accuracy': {}} for b in (200, 300, 400)],
            'remote': remote,
        }
        if edit is not None:
            edit(manifest)

    return write_tiny_model(folder, edit=add_cut)


def tiny_tables() -> CodecTables:
    """Tables for every grey level of each rate; where blue is dark, green and red are too."""
    tables: list[FrequencyTable] = []
    rates = []
    for step in STEPS:
        levels = round(255 / step) + 1
        share = np.exp(-np.arange(levels) / levels)
        for direction in (1, -1):
            counts = np.maximum(share / share.sum() * (TOTAL - 1), 1).astype(np.int64)
            counts[0] += TOTAL - 1 - counts.sum()
            tables.append(FrequencyTable(0, (*map(int, counts[::direction]), 1)))
        dark, bright = len(tables) - 2, len(tables) - 1
        rates.append(
            CodecRate(
                gain=np.full(3, 1 / step, np.float32),
                inverse=np.full(3, step, np.float32),
                thresholds=(np.array([], np.int64), np.array([50], np.int64)),
                tables=np.array([[dark, dark], [dark, bright], [dark, bright]], np.uint8),
            )
        )
    return CodecTables((np.array([0]), np.array([2, 1])), tuple(tables), tuple(rates))


def _encoder() -> onnx.ModelProto:
    pool = {'kernel_shape': [CELL, CELL], 'strides': [CELL, CELL]}
    return tiny_graph(
        'encoder',
        [('image', TensorProto.UINT8, (1, 'H', 'W', 3))],
        [('latent', TensorProto.FLOAT, (1, 3, 'h', 'w'))],
        [
            ('Cast', ['image'], ['float'], {'to': TensorProto.FLOAT}),
            ('Transpose', ['float'], ['planes'], {'perm': [0, 3, 1, 2]}),
            ('AveragePool', ['planes'], ['latent'], pool),
        ],
        {},
    )


def _decoder() -> onnx.ModelProto:
    return tiny_graph(
        'decoder',
        [('latent', TensorProto.FLOAT, ('b', 3, 'h', 'w'))],
        [('s8', TensorProto.FLOAT, ('b', 3, 'h', 'w'))],
        [('Mul', ['latent', 'scale'], ['s8'], {})],
        {'scale': np.array(1 / 255, np.float32)},
    )


def _batched(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph for batches of any size."""
    for tensor in (*proto.graph.input, *proto.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = 'b'
    return proto
