# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Starts a training from a finished run or from an exported model folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from mt_perception.errors import ModelError
from mt_perception.model.folder import MANIFEST, open_model
from mt_perception.network.multitask import TASKS, Multitask, build
from mt_perception.training.checkpoint import FILE, NETWORK, load_checkpoint
from mt_perception.training.export.publish_model import averaged, tasks_of
from mt_perception.training.recipe import Recipe
from mt_perception.types import DETECTION, SEGMENTATION

Labels = tuple[Sequence[str], Sequence[str]]
"""Detection and segmentation class names."""

# Names of the networks inside the exported blocks → their parts.
_GRAPH_PREFIXES = ('trunk.', 'head.')


@dataclass(frozen=True)
class Start:
    """Weights to start from.

    Args:
        path: folder of the run or the model.
        weights: name in the network → tensor.
        labels: class names of the weights.
        tasks: tasks that the weights can do.
        network: the network, if it has a structure other than one shared trunk.
    """

    path: Path
    weights: Mapping[str, Tensor]
    labels: Labels
    tasks: tuple[str, ...]
    network: Multitask | None = None


@dataclass(frozen=True)
class StartedNetwork:
    """A network with weights of a start.

    Args:
        network: the network.
        report: sentences on what was kept and what is new.
    """

    network: Multitask
    report: tuple[str, ...]


def read_start(path: Path) -> Start:
    """Read the weights of a finished run, or of a model folder that was exported from one.

    Raises:
        ModelError: the folder is neither, or the model's blocks have no named weights of ours.
    """
    if (path / FILE).exists():
        state = load_checkpoint(path, NETWORK)
        network = averaged(state)
        labels = (state['detection_labels'], state['segmentation_labels'])
        whole = None if type(network) is Multitask else network
        return Start(path, network.state_dict(), labels, tasks_of(state), whole)
    if (path / MANIFEST).exists():
        return _read_model(path)
    raise ModelError(
        f'{path} is neither a training run (no {FILE}) nor a model folder (no {MANIFEST}); '
        'name one of the two for --start'
    )


def _read_model(path: Path) -> Start:
    opened = open_model(path)
    tasks = {name: task for name, task in opened.manifest.tasks.items() if name in TASKS}
    weights: dict[str, Tensor] = {}
    for name in ('trunk', *tasks):
        if name not in opened.manifest.graph.blocks:
            continue
        graph = onnx.load_from_string(opened.contents[name]).graph
        for tensor in graph.initializer:
            for prefix in _GRAPH_PREFIXES:
                if tensor.name.startswith(prefix):
                    value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
                    weights[f'{name}.{tensor.name.removeprefix(prefix)}'] = value
    if not any(name.startswith('trunk.') for name in weights):
        raise ModelError(
            f'{path}: its blocks have no weights under the names of our networks; a training can '
            'start from models that `mt_perception export` wrote in float'
        )
    labels = tuple(
        tasks[task].labels if task in tasks else () for task in (DETECTION, SEGMENTATION)
    )
    return Start(path, weights, (labels[0], labels[1]), tuple(t for t in TASKS if t in tasks))


def start_network(start: Start, name: str, labels: Labels) -> StartedNetwork:
    """Build a network for some classes with the weights of a start.

    Weights are copied by name where the shapes are equal. Of the layers that predict classes, the
    outputs of classes with the same name are copied; other classes start from random weights.

    Args:
        start: the weights.
        name: name of the network.
        labels: detection and segmentation class names of the network.

    Raises:
        ModelError: the start has another structure, or none of its trunk fits.
    """
    same = [list(ours) for ours in labels] == [list(theirs) for theirs in start.labels]
    if start.network is not None:
        if not same:
            raise ModelError(
                f'{start.path} has a structure with branches or gates, whose classes cannot '
                'change; start from a run with one shared trunk'
            )
        return StartedNetwork(start.network, (f'{start.path}: all weights kept',))
    network = build(name, len(labels[0]), len(labels[1]))
    state = network.state_dict()
    kept: dict[str, int] = {}
    for key, value in start.weights.items():
        part = key.partition('.')[0]
        if key not in state or _predicts_classes(key):
            continue
        if state[key].shape == value.shape:
            state[key].copy_(value)
            kept[part] = kept.get(part, 0) + 1
    trunk = sum(key.startswith('trunk.') for key in state)
    if kept.get('trunk', 0) < trunk:
        raise ModelError(
            f'{start.path}: {kept.get("trunk", 0)} of {trunk} tensors of the trunk fit the '
            f'network {name}; expected a model of this network'
        )
    classes = {
        DETECTION: _copy_classes(state, start, DETECTION, labels[0], start.labels[0]),
        SEGMENTATION: _copy_classes(state, start, SEGMENTATION, labels[1], start.labels[1]),
    }
    network.load_state_dict(state)
    return StartedNetwork(network.eval(), tuple(_report(start, state, kept, classes, labels)))


def _predicts_classes(key: str) -> bool:
    return '.classes.' in key or key.startswith('segmentation.predict.')


def _copy_classes(
    state: Mapping[str, Tensor],
    start: Start,
    task: str,
    ours: Sequence[str],
    theirs: Sequence[str],
) -> int:
    """Copy the outputs of classes that both have; return their number."""
    rows = [(ours.index(name), theirs.index(name)) for name in ours if name in theirs]
    keys = [k for k in state if k.startswith(f'{task}.') and _predicts_classes(k)]
    if not all(key in start.weights for key in keys):
        return 0
    for key in keys:
        for ours_row, theirs_row in rows:
            state[key][ours_row].copy_(start.weights[key][theirs_row])
    return len(rows)


def _report(
    start: Start,
    state: Mapping[str, Tensor],
    kept: Mapping[str, int],
    classes: Mapping[str, int],
    labels: Labels,
) -> list[str]:
    rows = []
    for part in ('trunk', *TASKS):
        tensors = [k for k in state if k.startswith(f'{part}.') and not _predicts_classes(k)]
        rows.append(f'{part}: {kept.get(part, 0)} of {len(tensors)} tensors kept')
        if part in classes:
            names = labels[0] if part == DETECTION else labels[1]
            new = len(names) - classes[part]
            rows[-1] += f', outputs of {classes[part]} classes kept, {new} new'
    return [f'{start.path}: {"; ".join(rows)}']


def check_start(recipe: Recipe, start: Start, labels: Labels) -> None:
    """Refuse recipes that distil detections which the start does not have.

    Raises:
        ModelError: the recipe has a weight for `distillation`, and the detector's classes differ
            from those of the start.
    """
    if _distils(recipe) and recipe.gating is None and list(labels[0]) != list(start.labels[0]):
        raise ModelError(
            f'the recipe distils detections, but {start.path} has other detector classes than '
            f'{recipe.detection_labels}; remove the loss "distillation", or keep the classes'
        )


def check_teacher(recipe: Recipe, start: Start | None) -> None:
    """Refuse recipes that distil detections from random weights.

    Raises:
        ModelError: there is neither a start nor a checkpoint.
    """
    if _distils(recipe) and start is None and not recipe.initial_weights:
        raise ModelError(
            'the recipe distils detections, which needs a network that detects: set '
            'initial_weights to a checkpoint, or name a run or a model with --start'
        )


def _distils(recipe: Recipe) -> bool:
    return any(phase.weights.distillation > 0 for phase in recipe.phases)
