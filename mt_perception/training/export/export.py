# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes a trained network as a model folder: one ONNX file per block and the manifest."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from mt_perception.errors import ModelError
from mt_perception.model.folder import write_manifest_data
from mt_perception.model.input_spec import InputSpec
from mt_perception.model.manifest import FORMAT, Accuracy
from mt_perception.network.graphs import BlockGraph, block_graphs
from mt_perception.network.macs import count_macs, count_parameters
from mt_perception.network.multitask import Multitask

_INPUT_DATA = {
    'size': 416, 'min_size': 160, 'max_size': 640, 'multiple': 32, 'pad_value': 114
}  # fmt: skip
INPUT = InputSpec(**_INPUT_DATA)
REFERENCE_SIZE = (320, 416)
# Two sizes, neither square nor a multiple of the other, that are not what was traced.
PARITY_SIZES = ((160, 224), (640, 480))
_TOLERANCE = 1e-3
_OPSET = 17
_PYRAMID_AXES = {2: 'height', 3: 'width'}


@dataclass(frozen=True)
class ModelCard:
    """What the manifest says beside the graphs."""

    name: str
    version: str
    licence: str
    description: str
    detection_labels: tuple[str, ...]
    segmentation_labels: tuple[str, ...]
    accuracy: tuple[Accuracy, ...] = ()


def export_folder(network: Multitask, card: ModelCard, folder: Path) -> None:
    """Write the model folder and check it against the network.

    Args:
        network: the trained network.
        card: names, labels and figures for the manifest.
        folder: made where it is missing; files of the same names are replaced.

    Raises:
        ModelError: ONNX Runtime does not compute what torch computes.
    """
    network = network.eval().float().cpu()
    folder.mkdir(parents=True, exist_ok=True)
    graphs = block_graphs(network)
    tensors = example(graphs, REFERENCE_SIZE)
    for graph in graphs:
        given = [tensors[source] for source in graph.inputs.values()]
        export_block(graph, given, folder / f'{graph.name}.onnx')
    write_manifest(network, card, folder)
    for size in PARITY_SIZES:
        check_parity(network, folder, size)


def write_manifest(network: Multitask, card: ModelCard, folder: Path) -> None:
    """Write the manifest of a folder whose blocks are already there."""
    sums = {
        graph.name: hashlib.sha256((folder / f'{graph.name}.onnx').read_bytes()).hexdigest()
        for graph in block_graphs(network)
    }
    write_manifest_data(folder, manifest_data(network, card, sums))


def manifest_data(network: Multitask, card: ModelCard, sums: Mapping[str, str]) -> dict[str, Any]:
    """Give the manifest as plain data.

    Args:
        network: the network.
        card: names, labels and figures.
        sums: sha256 of every block's file, in hex.
    """
    graphs = block_graphs(network)
    tensors = example(graphs, REFERENCE_SIZE)
    blocks = {}
    for graph in graphs:
        given = [tensors[source] for source in graph.inputs.values()]
        blocks[graph.name] = block_entry(graph, given, sums[graph.name])
    return _manifest(card, blocks)


def block_entry(graph: BlockGraph, given: Sequence[Tensor], sha256: str) -> dict[str, Any]:
    """Give what the manifest says of a block whose inputs at the reference size are given."""
    return {
        'file': f'{graph.name}.onnx',
        'sha256': sha256,
        'inputs': dict(graph.inputs),
        'outputs': list(graph.outputs),
        'macs': count_macs(graph.module, given),
        'parameters': count_parameters(graph.module),
        'skippable': False,
    }


def check_parity(network: Multitask, folder: Path, size: tuple[int, int]) -> dict[str, float]:
    """Compare every exported block with the network at one input size; see `check_blocks`."""
    return check_blocks(block_graphs(network), folder, size)


def check_blocks(
    graphs: Sequence[BlockGraph], folder: Path, size: tuple[int, int]
) -> dict[str, float]:
    """Compare exported blocks with the graphs that they came from at one input size.

    Args:
        graphs: the blocks, each after those that it reads.
        folder: where their files are.
        size: height and width of the image.

    Returns:
        The largest difference of each output: relative to the largest value for floats, the
        share of differing pixels for classes.

    Raises:
        ModelError: a difference is above 1e-3.
    """
    tensors = example(graphs, size)
    worst: dict[str, float] = {}
    for graph in graphs:
        given = [tensors[source] for source in graph.inputs.values()]
        with torch.no_grad():
            expected = graph.module(*given)
        expected = expected if isinstance(expected, tuple) else (expected,)
        session = onnxruntime.InferenceSession(
            str(folder / f'{graph.name}.onnx'), providers=['CPUExecutionProvider']
        )
        feed = {name: t.numpy() for name, t in zip(graph.inputs, given, strict=True)}
        found = session.run(list(graph.outputs), feed)
        for name, ours, theirs in zip(graph.outputs, expected, found, strict=True):
            worst[f'{graph.name}/{name}'] = _difference(ours.numpy(), theirs)
    wrong = {name: value for name, value in worst.items() if not value <= _TOLERANCE}
    if wrong:
        raise ModelError(f'{folder}: at {size} ONNX Runtime differs from torch: {wrong}')
    return worst


def _difference(expected: NDArray[Any], found: NDArray[Any]) -> float:
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return float('inf')
    if np.issubdtype(expected.dtype, np.integer):
        return float(np.mean(expected != found))
    return float(np.abs(expected - found).max() / max(float(np.abs(expected).max()), 1e-6))


def example(graphs: Sequence[BlockGraph], size: tuple[int, int]) -> dict[str, Tensor]:
    """Give an image of noise and all that the blocks make of it, by tensor of the graph."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, *size, 3), dtype=torch.uint8, generator=generator)
    tensors = {'image': image}
    for graph in graphs:
        with torch.no_grad():
            made = graph.module(*(tensors[source] for source in graph.inputs.values()))
        values = made if isinstance(made, tuple) else (made,)
        tensors |= {
            f'{graph.name}/{name}': value
            for name, value in zip(graph.outputs, values, strict=True)
        }
    return tensors


def export_block(graph: BlockGraph, given: Sequence[Tensor], path: Path) -> None:
    """Write a block as ONNX, for images of any size."""
    axes = {
        name: {1: 'height', 2: 'width'}
        if name == 'image'
        else {axis: f'{kind}_{name}' for axis, kind in _PYRAMID_AXES.items()}
        for name in graph.inputs
    }
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but its graphs are the smaller ones, it needs
        # neither onnxscript nor constraints between axes, and it takes 1 s instead of 30.
        warnings.simplefilter('ignore', DeprecationWarning)
        torch.onnx.export(
            graph.module,
            tuple(given),
            str(path),
            input_names=list(graph.inputs),
            output_names=list(graph.outputs),
            dynamic_axes=axes,
            opset_version=_OPSET,
            dynamo=False,
        )
    model = onnx.load(str(path))
    onnx.checker.check_model(model, full_check=True)


def _manifest(card: ModelCard, blocks: Mapping[str, Any]) -> dict[str, Any]:
    return {
        'format': FORMAT,
        'name': card.name,
        'version': card.version,
        'licence': card.licence,
        'description': card.description,
        'input': _INPUT_DATA,
        'reference_size': list(REFERENCE_SIZE),
        'blocks': dict(blocks),
        'tasks': {
            'detection': {
                'kind': 'detection',
                'outputs': {n: f'detection/{n}' for n in ('boxes', 'scores', 'class_ids')},
                'labels': list(card.detection_labels),
            },
            'segmentation': {
                'kind': 'segmentation',
                'outputs': {'class_ids': 'segmentation/class_ids'},
                'labels': list(card.segmentation_labels),
            },
            'depth': {
                'kind': 'depth',
                'outputs': {'depth_per_focal': 'depth/depth_per_focal'},
                'labels': [],
            },
        },
        'accuracy': [asdict(row) for row in card.accuracy],
    }
