# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Splits the large blocks of a model folder at places where few tensors cross."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import onnx
import yaml
from onnx import helper

SHARE = 0.2
"""Blocks above this share of the model are split into parts of about half of it."""


def cut_model(model: Path, folder: Path) -> None:
    """Write a model of smaller blocks with the same results."""
    manifest = yaml.safe_load((model / 'manifest.yaml').read_text(encoding='utf-8'))
    sizes = {n: (model / b['file']).stat().st_size for n, b in manifest['blocks'].items()}
    limit = SHARE * sum(sizes.values())
    moved: dict[str, str] = {}
    blocks: dict[str, dict[str, object]] = {}
    for name, block in manifest['blocks'].items():
        graph = onnx.load(model / block['file'])
        parts = [graph] if sizes[name] <= limit else split(graph, limit / 2)
        reads = dict(block['inputs'])
        for number, part in enumerate(parts):
            own = name if len(parts) == 1 else f'{name}{number}'
            outputs = [tensor.name for tensor in part.graph.output]
            inputs = {tensor.name: reads[tensor.name] for tensor in part.graph.input}
            reads |= {output: f'{own}/{output}' for output in outputs}
            moved |= {f'{name}/{output}': f'{own}/{output}' for output in outputs}
            content = part.SerializeToString()
            (folder / f'{own}.onnx').write_bytes(content)
            weights = sum(int(_count(tensor)) for tensor in part.graph.initializer)
            blocks[own] = {
                'file': f'{own}.onnx',
                'sha256': hashlib.sha256(content).hexdigest(),
                'inputs': inputs,
                'outputs': outputs,
                'macs': block['macs'] * weights // max(1, block['parameters']),
                'parameters': weights,
                'skippable': False,
            }
    for block in [*blocks.values(), *manifest['tasks'].values()]:
        for key in {'inputs', 'outputs'} & set(block):
            if isinstance(block[key], dict):
                block[key] = {n: moved.get(tensor, tensor) for n, tensor in block[key].items()}
    text = yaml.safe_dump({**manifest, 'blocks': blocks}, sort_keys=False)
    (folder / 'manifest.yaml').write_text(text, encoding='utf-8')


def split(model: onnx.ModelProto, size: float) -> list[onnx.ModelProto]:
    """Split a model where the fewest tensors cross, near multiples of a size in bytes."""
    nodes = list(model.graph.node)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    position, sums = 0.0, []
    for node in nodes:
        position += sum(4 * _count(weights[name]) for name in node.input if name in weights)
        sums.append(position)
    crossing = [len(_made(nodes[:end]) & _read(nodes[end:])) for end in range(1, len(nodes))]
    cuts = {0, len(nodes)}
    for number in range(1, round(position / size)):
        near = [i for i, s in enumerate(sums[:-1]) if abs(s - number * size) < 0.35 * size]
        cuts |= {min(near, key=lambda i: crossing[i]) + 1} if near else set()
    ends = sorted(cuts)
    return [_piece(model, start, end) for start, end in pairwise(ends)]


def _piece(model: onnx.ModelProto, start: int, end: int) -> onnx.ModelProto:
    graph = onnx.shape_inference.infer_shapes(model).graph
    nodes = list(graph.node)
    kinds = {t.name: t for t in (*graph.value_info, *graph.input, *graph.output)}
    ends = {tensor.name for tensor in graph.output}
    made, read = _made(nodes[start:end]), _read(nodes[start:end])
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    inputs = sorted(read - made - {tensor.name for tensor in weights})
    outputs = sorted(made & (_read(nodes[end:]) | ends))
    # Sizes follow from the image; only kinds of numbers are fixed.
    infos = [
        [
            kinds[name]
            if name in {tensor.name for tensor in graph.input}
            else helper.make_tensor_value_info(name, kinds[name].type.tensor_type.elem_type, None)
            for name in names
        ]
        for names in (inputs, outputs)
    ]
    part = helper.make_graph(nodes[start:end], f'{graph.name}_{start}', *infos, weights)
    return helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)


def _made(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    return {name for node in nodes for name in node.output if name}


def _read(nodes: Iterable[onnx.NodeProto]) -> set[str]:
    return {name for node in nodes for name in node.input if name}


def _count(tensor: onnx.TensorProto) -> int:
    count = 1
    for size in tensor.dims:
        count *= size
    return count
