# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""From a run's folder to a model folder that knows its own accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from mt_perception.model.manifest import Accuracy
from mt_perception.network.branched import restore
from mt_perception.network.multitask import Multitask, build
from mt_perception.pipeline import Pipeline
from mt_perception.training.checkpoint import load_checkpoint
from mt_perception.training.export.export import ModelCard, export_folder, write_manifest
from mt_perception.training.export.figures import all_figures
from mt_perception.training.recipe import read_recipe
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION

# The figures that go into the manifest, with the task and the data they belong to.
_REPORTED = {
    'ap': (DETECTION, 'COCO val2017 part, 128 images'),
    'miou': (SEGMENTATION, 'COCO val2017 part, 100 images with panoptic labels'),
    'abs_rel': (DEPTH, 'held-out frames of the training scenes, mean over scenes'),
}


def release(
    run: Path, folder: Path, data: Path | None, version: str, licence: str
) -> dict[str, float]:
    """Export a run's averaged weights; with data, measure the folder and write that down.

    Args:
        run: folder of a training run.
        folder: the model folder to write; its name becomes the model's.
        data: the data folder, or None.
        version: of the weights.
        licence: of the weights, an SPDX identifier.

    Returns:
        The figures; empty without data.
    """
    state = load_checkpoint(run)
    network = averaged(state)
    card = ModelCard(
        name=folder.name,
        version=version,
        licence=licence,
        description='One shared trunk for detection, semantic segmentation and metric depth.',
        detection_labels=tuple(state['detection_labels']),
        segmentation_labels=tuple(state['segmentation_labels']),
    )
    export_folder(network, card, folder)
    if data is None:
        return {}
    figures = all_figures(Pipeline.load(folder), data, read_recipe(run / 'recipe.yaml'))
    accuracy = tuple(
        Accuracy(task, name, round(figures[name], 4), where)
        for name, (task, where) in _REPORTED.items()
    )
    write_manifest(network, replace(card, accuracy=accuracy), folder)
    return figures


def averaged(state: Mapping[str, Any]) -> Multitask:
    """Build the network of a checkpoint with its averaged weights."""
    network = build(
        state['name'], len(state['detection_labels']), len(state['segmentation_labels'])
    )
    # Checkpoints that say nothing about their structure have one trunk.
    network = restore(network, state.get('structure', {'kind': 'trunk'}))
    network.load_state_dict(state['average'])
    return network.eval()
