# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Export of a network as a model folder: one ONNX file per block, and the manifest."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mt_perception.errors import ModelError
from mt_perception.model.folder import write_manifest_data
from mt_perception.model.input_spec import InputSpec
from mt_perception.model.manifest import FORMAT
from mt_perception.model.sessions import open_session
from mt_perception.network.graphs import BlockGraph, block_graphs
from mt_perception.network.macs import count_macs, count_parameters
from mt_perception.network.multitask import TASKS, Multitask

INPUT = InputSpec(size=416, min_size=160, max_size=640, multiple=32, pad_value=114)
REFERENCE_SIZE = (320, 416)
# Two sizes other than the traced one; neither is square or a multiple of the other.
PARITY_SIZES = ((160, 224), (640, 480))
TOLERANCE = 1e-3
_OPSET = 17
_TIE = 1e-5


@dataclass(frozen=True)
class ModelCard:
    """The manifest's entries that do not follow from the graphs."""

    name: str
    version: str
    licence: str
    description: str
    detection_labels: tuple[str, ...]
    segmentation_labels: tuple[str, ...]
    tasks: tuple[str, ...] = TASKS


def export_folder(network: Multitask, card: ModelCard, folder: Path) -> None:
    """Write the model folder and compare it with the network.

    Args:
        network: the trained network.
        card: names and labels for the manifest.
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
    sums = {graph.name: sha256(folder / f'{graph.name}.onnx') for graph in graphs}
    write_manifest_data(folder, manifest_data(network, card, sums))
    for size in PARITY_SIZES:
        check_blocks(graphs, folder, size)


def manifest_data(network: Multitask, card: ModelCard, sums: Mapping[str, str]) -> dict[str, Any]:
    """Return the manifest as plain data.

    Args:
        network: the network.
        card: names and labels.
        sums: block → sha256 of its file, in hex.
    """
    graphs = block_graphs(network, card.tasks)
    tensors = example(graphs, REFERENCE_SIZE)
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
        'blocks': {
            graph.name: block_entry(graph, inputs_of(graph, tensors), sums[graph.name])
            for graph in graphs
        },
        'tasks': {task: _task(card, task) for task in card.tasks},
        'accuracy': [],
    }


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


def smooth_noise(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return noise in cells of 8×8 pixels, (1, H, W, 3): its latents resemble an image's."""
    small = np.random.default_rng(0).integers(0, 256, (1, size[0] // 8, size[1] // 8, 3), np.uint8)
    return small.repeat(8, axis=1).repeat(8, axis=2)


def check_blocks(graphs: Sequence[BlockGraph], folder: Path, size: tuple[int, int]) -> None:
    """Compare exported blocks with their torch graphs at one input size.

    Args:
        graphs: the blocks, in an order in which they can run.
        folder: folder of their files.
        size: height and width of the image.

    Raises:
        ModelError: an output's `difference` is above 1e-3.
    """
    tensors = example(graphs, size)
    for graph in graphs:
        check_block(graph, folder / f'{graph.name}.onnx', tensors)


def check_block(
    graph: BlockGraph, path: Path, tensors: Mapping[str, Tensor], selects_boxes: bool = False
) -> dict[str, Tensor]:
    """Compare an exported block with its torch graph on equal inputs.

    Args:
        graph: the block.
        path: its file.
        tensors: the tensors that it reads, by name.
        selects_boxes: compare only the rows of distinct scores, if its outputs have scores: ties
            are in any order.

    Returns:
        Outputs of the torch graph, by tensor name.

    Raises:
        ModelError: an output's `difference` is above 1e-3.
    """
    with torch.no_grad():
        expected = run_graph(graph, tensors)
    scores = expected.get(f'{graph.name}/scores')
    rows = _distinct(scores) if selects_boxes and scores is not None else ...
    feeds = {name: tensors[source].numpy() for name, source in graph.inputs.items()}
    found = open_session(graph.name, path.read_bytes()).run(list(graph.outputs), feeds)
    for (name, ours), theirs in zip(expected.items(), found, strict=True):
        worst = difference(ours.numpy()[rows], theirs[rows])
        if not worst <= TOLERANCE:
            raise ModelError(f'{path}: {name} differs from torch by {worst:.2g}')
    return expected


def _distinct(scores: Tensor) -> NDArray[np.bool_]:
    """Return where sorted scores, (B, N), differ from both neighbours."""
    apart = (scores.diff(dim=1).abs() > _TIE).numpy()  # (B, N - 1)
    distinct = np.zeros(scores.shape, bool)
    distinct[:, 1:-1] = apart[:, 1:] & apart[:, :-1]
    return distinct


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


def export_block(
    graph: BlockGraph, given: Sequence[Tensor], path: Path, batches: bool = False
) -> None:
    """Write a block as ONNX, for images or features of any size.

    Args:
        graph: the block.
        given: example inputs.
        path: the file.
        batches: also for any number of features; an image is always one.
    """
    axes = {
        name: _dynamic_axes(name, value) for name, value in zip(graph.inputs, given, strict=True)
    }
    if batches and 'image' not in axes:
        axes = {name: {0: 'batch', **named} for name, named in axes.items()}
        axes |= {name: {0: 'batch'} for name in graph.outputs}
    export_onnx(graph.module, given, path, tuple(graph.inputs), graph.outputs, axes)


def _dynamic_axes(name: str, value: Tensor) -> dict[int, str]:
    if name == 'image':
        return {1: 'height', 2: 'width'}
    if value.ndim == len('BCHW'):
        return {2: f'height_{name}', 3: f'width_{name}'}
    return {1: f'count_{name}'}


def export_head(head: BlockGraph, trunk: BlockGraph, folder: Path) -> dict[str, Any]:
    """Write a head that reads a trunk into the trunk's folder, and compare it with torch.

    Returns:
        The manifest's entry of the head.

    Raises:
        ModelError: an output's `difference` is above 1e-3.
    """
    given = inputs_of(head, example((trunk,), REFERENCE_SIZE))
    path = folder / f'{head.name}.onnx'
    export_block(head, given, path)
    for size in PARITY_SIZES:
        check_blocks((trunk, head), folder, size)
    return block_entry(head, given, sha256(path))


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
