# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Replaces one task's head, or the full network, in a model folder by that of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mt_perception.errors import ModelError
from mt_perception.model.folder import read_manifest_data, write_manifest_data
from mt_perception.network.graphs import block_graphs
from mt_perception.network.multitask import TASKS, Multitask
from mt_perception.training.add_task import check_trunk
from mt_perception.training.checkpoint import NETWORK, load_checkpoint
from mt_perception.training.export.publish_model import averaged
from mt_perception.training.export.write_model import (
    PARITY_SIZES,
    REFERENCE_SIZE,
    block_entry,
    check_blocks,
    example,
    export_block,
    export_head,
    inputs_of,
    sha256,
)
from mt_perception.training.gating.add_paths import has_paths, lighter_network
from mt_perception.training.start import read_start


def replace_head(run: Path, model: Path, task: str, version: str) -> Path:
    """Replace a task's head; of a run of lighter paths, the task's light head.

    The other tasks' outputs stay as they are, and so do the remote networks of a model with a cut:
    their heads fit their own trunk. `mt_perception cut` trains them again.

    Args:
        run: folder of a run that trained the head on the model's own trunk.
        model: the model folder.
        task: detection, segmentation or depth.
        version: of the weights, for the manifest.

    Returns:
        The file that was replaced.

    Raises:
        ModelError: the run has another trunk or other classes, or the model has no such head.
    """
    if task not in TASKS:
        raise ModelError(f'{task}: expected one of {", ".join(TASKS)}')
    manifest = read_manifest_data(model)
    state = load_checkpoint(run, NETWORK)
    if has_paths(run):
        network = lighter_network(state).with_light((task,)).eval()
    else:
        network = averaged(state)
    labels = list(state.get(f'{task}_labels', ()))
    if labels != manifest['tasks'][task]['labels']:
        raise ModelError(f'{run}: its classes for {task} are not those of {model}')
    graphs = {graph.name: graph for graph in block_graphs(network)}
    check_trunk(graphs['trunk'], model, manifest)
    name = _block_name(manifest, task, has_paths(run), model)
    entry = export_head(replace(graphs[task], name=name), graphs['trunk'], model)
    path: Path = model / entry['file']
    if has_paths(run):
        kept = {key: entry[key] for key in ('file', 'sha256', 'inputs', 'macs', 'parameters')}
        manifest['variants'][name] = {'of': task, **kept}
    else:
        manifest['blocks'][name] = entry
    manifest['version'] = version
    write_manifest_data(model, manifest)
    return path


def replace_full(run: Path, model: Path, version: str, share: float = 1.0) -> tuple[Path, ...]:
    """Replace trunk and full heads of a model folder; light heads and remote networks stay.

    Light heads read the trunk's features, so they must be trained again on the new trunk.

    Args:
        run: folder of a run that trained all tasks of the model.
        model: the model folder.
        version: of the weights, for the manifest.
        share: share of the run's weights in the new ones, the others are the model's present ones
            (WiSE-FT, arXiv 2109.01903, eq. 1).

    Returns:
        The files that were replaced.

    Raises:
        ModelError: the run has lighter paths, or other tasks or classes than the model.
    """
    if has_paths(run):
        raise ModelError(f'{run} trained lighter paths; replace its heads one by one')
    manifest = read_manifest_data(model)
    state = load_checkpoint(run, NETWORK)
    for task in TASKS:
        if list(state.get(f'{task}_labels', [])) != manifest['tasks'].get(task, {}).get('labels'):
            raise ModelError(f'{run}: its classes for {task} are not those of {model}')
    network = averaged(state)
    if share < 1:
        _mix(network, read_start(model).weights, share)
    graphs = block_graphs(network)
    if {graph.name for graph in graphs} != set(manifest['blocks']):
        raise ModelError(f'{run}: its blocks are not those of {model}')
    tensors = example(graphs, REFERENCE_SIZE)
    for graph in graphs:
        path = model / f'{graph.name}.onnx'
        export_block(graph, inputs_of(graph, tensors), path)
        manifest['blocks'][graph.name] = block_entry(
            graph, inputs_of(graph, tensors), sha256(path)
        )
    for size in PARITY_SIZES:
        check_blocks(graphs, model, size)
    manifest['version'] = version
    write_manifest_data(model, manifest)
    return tuple(model / f'{graph.name}.onnx' for graph in graphs)


@torch.no_grad()
def _mix(network: Multitask, others: Mapping[str, Tensor], share: float) -> None:
    for name, parameter in network.named_parameters():
        parameter.lerp_(others[name], 1 - share)


def _block_name(manifest: dict[str, Any], task: str, light: bool, model: Path) -> str:
    if not light:
        return task
    names = [n for n, v in manifest.get('variants', {}).items() if v['of'] == task]
    if len(names) != 1:
        raise ModelError(f'{model}: expected one variant of {task}, found {names}')
    return str(names[0])
