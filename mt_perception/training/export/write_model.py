# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Export of a network as a model folder: one ONNX file per block, and the manifest."""

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
from torch import Tensor, nn

from mt_perception.errors import ModelError
from mt_perception.model.folder import write_manifest_data
from mt_perception.model.input_spec import InputSpec
from mt_perception.model.manifest import FORMAT, Accuracy
from mt_perception.network.graphs import BlockGraph, block_graphs
from mt_perception.network.macs import count_macs, count_parameters
from mt_perception.network.multitask import TASKS, Multitask

INPUT = InputSpec(size=416, min_size=160, max_size=640, multiple=32, pad_value=114)
REFERENCE_SIZE = (320, 416)
# Two sizes other than the traced one; neither is square or a multiple of the other.
PARITY_SIZES = ((160, 224), (640, 480))
TOLERANCE = 1e-3
_OPSET = 17


@dataclass(frozen=True)
class ModelCard:
    """The manifest's entries that do not follow from the graphs."""

    name: str
    version: str
    licence: str
    description: str
    detection_labels: tuple[str, ...]
    segmentation_labels: tuple[str, ...]
    accuracy: tuple[Accuracy, ...] = ()
    tasks: tuple[str, ...] = TASKS


def export_folder(network: Multitask, card: ModelCard, folder: Path) -> None:
    """Write the model folder and compare it with the network.

    Args:
        network: the trained network.
        card: names, labels and accuracy for the manifest.
        folder: created if missing; files of the same names are replaced.

    Raises:
        ModelError: ONNX Runtime and torch give different results.
    """
    network = network.eval().float().cpu()
    folder.mkdir(parents=True, exist_ok=True)
    graphs = block_graphs(network, card.tasks)
    tensors = example(graphs, REFERENCE_SIZE)
    for graph in graphs:
        export_block(graph, inputs_of(graph, tensors), folder / f'{graph.name}.onnx')
    write_manifest(network, card, folder)
    for size in PARITY_SIZES:
        check_blocks(graphs, folder, size)


def write_manifest(network: Multitask, card: ModelCard, folder: Path) -> None:
    """Write the manifest of a folder that has the blocks already."""
    graphs = block_graphs(network, card.tasks)
    sums = {graph.name: sha256(folder / f'{graph.name}.onnx') for graph in graphs}
    write_manifest_data(folder, manifest_data(network, card, sums))


def manifest_data(network: Multitask, card: ModelCard, sums: Mapping[str, str]) -> dict[str, Any]:
    """Return the manifest as plain data.

    Args:
        network: the network.
        card: names, labels and accuracy.
        sums: block → sha256 of its file, in hex.
    """
    graphs = block_graphs(network, card.tasks)
    tensors = example(graphs, REFERENCE_SIZE)
    blocks = {
        graph.name: block_entry(graph, inputs_of(graph, tensors), sums[graph.name])
        for graph in graphs
    }
    return _manifest(card, blocks)


def block_entry(graph: BlockGraph, given: Sequence[Tensor], digest: str) -> dict[str, Any]:
    """Return the manifest's entry of a block.

    Args:
        graph: the block.
        given: its inputs at the reference size.
        digest: sha256 of its file, in hex.
    """
    return {
        'file': f'{graph.name}.onnx',
        'sha256': digest,
        'inputs': dict(graph.inputs),
        'outputs': list(graph.outputs),
        'macs': count_macs(graph.module, given),
        'parameters': count_parameters(graph.module),
        'skippable': False,
    }


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def inputs_of(graph: BlockGraph, tensors: Mapping[str, Tensor]) -> list[Tensor]:
    """Return a block's inputs from the tensors of a graph."""
    return [tensors[source] for source in graph.inputs.values()]


def run_graph(graph: BlockGraph, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Run a block on the tensors of a graph and return its outputs by tensor name."""
    made = graph.module(*inputs_of(graph, tensors))
    values = made if isinstance(made, tuple) else (made,)
    return {
        f'{graph.name}/{name}': value for name, value in zip(graph.outputs, values, strict=True)
    }


def example(graphs: Sequence[BlockGraph], size: tuple[int, int]) -> dict[str, Tensor]:
    """Return an image of noise and all tensors that the blocks compute from it."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, *size, 3), dtype=torch.uint8, generator=generator)
    tensors = {'image': image}
    for graph in graphs:
        with torch.no_grad():
            tensors |= run_graph(graph, tensors)
    return tensors


def check_blocks(
    graphs: Sequence[BlockGraph], folder: Path, size: tuple[int, int]
) -> dict[str, float]:
    """Compare exported blocks with their torch graphs at one input size.

    Args:
        graphs: the blocks, in an order in which they can run.
        folder: folder of their files.
        size: height and width of the image.

    Returns:
        The `difference` of each output.

    Raises:
        ModelError: a difference is above 1e-3.
    """
    tensors = example(graphs, size)
    worst: dict[str, float] = {}
    for graph in graphs:
        session = onnxruntime.InferenceSession(
            str(folder / f'{graph.name}.onnx'), providers=['CPUExecutionProvider']
        )
        feed = {name: tensors[source].numpy() for name, source in graph.inputs.items()}
        found = session.run(list(graph.outputs), feed)
        for name, theirs in zip(graph.outputs, found, strict=True):
            tensor = f'{graph.name}/{name}'
            worst[tensor] = difference(tensors[tensor].numpy(), theirs)
    wrong = {name: value for name, value in worst.items() if not value <= TOLERANCE}
    if wrong:
        raise ModelError(f'{folder}: at {size} ONNX Runtime differs from torch: {wrong}')
    return worst


def difference(expected: NDArray[Any], found: NDArray[Any]) -> float:
    """Return how much two arrays differ.

    Returns:
        For floats the largest absolute difference over the largest absolute value; for integers
        the share of differing elements; infinity if shape or dtype differ.
    """
    if expected.shape != found.shape or expected.dtype != found.dtype:
        return float('inf')
    if np.issubdtype(expected.dtype, np.integer):
        return float(np.mean(expected != found)) if expected.size else 0.0
    largest = max(float(np.abs(expected).max(initial=0)), 1e-6)
    return float(np.abs(expected - found).max(initial=0)) / largest


def export_block(graph: BlockGraph, given: Sequence[Tensor], path: Path) -> None:
    """Write a block as ONNX, for images of any size."""
    axes = {
        name: {1: 'height', 2: 'width'}
        if name == 'image'
        else {2: f'height_{name}', 3: f'width_{name}'}
        for name in graph.inputs
    }
    export_onnx(graph.module, given, path, tuple(graph.inputs), graph.outputs, axes)


def export_onnx(
    module: nn.Module,
    given: Sequence[Tensor],
    path: Path,
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
) -> None:
    """Write a module as ONNX and check the file.

    Args:
        module: the module.
        given: example inputs.
        path: the file.
        inputs: names of the inputs.
        outputs: names of the outputs.
        axes: input or output → index and name of each dynamic axis.
    """
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but its graphs are smaller, it needs neither
        # onnxscript nor constraints between axes, and it takes 1 s instead of 30.
        warnings.simplefilter('ignore', DeprecationWarning)
        warnings.simplefilter('ignore', UserWarning)
        torch.onnx.export(
            module.eval(),
            tuple(given),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(named) for name, named in axes.items()},
            opset_version=_OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)


def _manifest(card: ModelCard, blocks: Mapping[str, Any]) -> dict[str, Any]:
    return {
        'format': FORMAT,
        'name': card.name,
        'version': card.version,
        'licence': card.licence,
        'description': card.description,
        'input': {
            name: getattr(INPUT, name)
            for name in ('size', 'min_size', 'max_size', 'multiple', 'pad_value')
        },
        'reference_size': list(REFERENCE_SIZE),
        'blocks': dict(blocks),
        'tasks': {task: _task(card, task) for task in card.tasks},
        'accuracy': [asdict(row) for row in card.accuracy],
    }


def _task(card: ModelCard, task: str) -> dict[str, Any]:
    labels = {'detection': card.detection_labels, 'segmentation': card.segmentation_labels}
    outputs = {
        'detection': ('boxes', 'scores', 'class_ids'),
        'segmentation': ('class_ids',),
        'depth': ('depth_per_focal',),
    }
    entry: dict[str, Any] = {
        'kind': task,
        'outputs': {name: f'{task}/{name}' for name in outputs[task]},
        'labels': list(labels.get(task, ())),
    }
    if task == 'segmentation':
        entry['confidence'] = {'logits': f'{task}/logits'}
    return entry
