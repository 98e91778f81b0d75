# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Exports a run as a model folder and records its measured accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mt_perception.model.folder import read_manifest_data, write_manifest_data
from mt_perception.network.branched import restore
from mt_perception.network.multitask import TASKS, Multitask, build
from mt_perception.pipeline import Pipeline
from mt_perception.training.checkpoint import NETWORK, load_checkpoint, load_weights
from mt_perception.training.export.confidence import calibrate_confidence
from mt_perception.training.export.model_metrics import accuracy_rows, combined, measure_sets
from mt_perception.training.export.write_model import ModelCard, export_folder
from mt_perception.training.recipe import read_recipe


def publish_model(
    run: Path, folder: Path, data: Path | None, version: str, licence: str
) -> dict[str, float]:
    """Export a run's averaged weights; with data, measure the folder and record its accuracy.

    Args:
        run: folder of a training run.
        folder: model folder to write; its name becomes the model's.
        data: the data folder, or None.
        version: version of the weights.
        licence: licence of the weights, an SPDX identifier.

    Returns:
        The metrics; empty without data.
    """
    state = load_checkpoint(run, NETWORK)
    network = averaged(state)
    card = ModelCard(
        name=folder.name,
        version=version,
        licence=licence,
        description=f'One shared trunk for {", ".join(tasks_of(state))}.',
        detection_labels=tuple(state['detection_labels']),
        segmentation_labels=tuple(state['segmentation_labels']),
        tasks=tasks_of(state),
    )
    export_folder(network, card, folder)
    if data is None:
        return {}
    recipe = read_recipe(run / 'recipe.yaml')
    sets = measure_sets(Pipeline.load(folder), data, recipe)
    manifest = read_manifest_data(folder)
    manifest['accuracy'] = [asdict(row) for row in accuracy_rows(sets)]
    write_manifest_data(folder, manifest)
    calibrate_confidence(folder, data, recipe)
    return combined(sets)


def averaged(state: Mapping[str, Any]) -> Multitask:
    """Build the network of a checkpoint with its averaged weights."""
    network = build(
        state['name'], len(state['detection_labels']), len(state['segmentation_labels'])
    )
    # Checkpoints without a structure have one trunk.
    network = restore(network, state.get('structure', {'kind': 'trunk'}))
    load_weights(network, state, 'average')
    return network.eval()


def tasks_of(state: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the tasks of a checkpoint: those that were trained, or kept from its start."""
    tasks = state.get('tasks', TASKS)
    return tuple(task for task in TASKS if task in tasks)
