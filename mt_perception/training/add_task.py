# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""One more task on a trunk that stands still: a detector trained and added to a model folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mt_perception.errors import ModelError
from mt_perception.evaluation.datasets.dataset_folder import HELD_OUT
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.model.folder import read_manifest_data, write_manifest_data
from mt_perception.model.manifest import Accuracy
from mt_perception.network.detection import DetectionHead
from mt_perception.network.graphs import BlockGraph, block_graphs
from mt_perception.network.multitask import Multitask
from mt_perception.pipeline import Pipeline
from mt_perception.training.checkpoint import load_checkpoint
from mt_perception.training.export.export import (
    PARITY_SIZES,
    REFERENCE_SIZE,
    ModelCard,
    block_entry,
    check_blocks,
    example,
    export_block,
)
from mt_perception.training.export.figures import JUDGED
from mt_perception.training.export.publish_model import averaged
from mt_perception.training.export.torch_runner import torch_pipeline
from mt_perception.training.loop import Validate
from mt_perception.training.recipe import Recipe
from mt_perception.types import DETECTION, Detections


def is_leaf(run: Path, labels: tuple[Sequence[str], Sequence[str]]) -> bool:
    """Tell whether labels ask for another detector than the one that a run has."""
    return bool(load_checkpoint(run)['detection_labels'] != list(labels[0]))


def on_trunk_of(run: Path, labels: tuple[Sequence[str], Sequence[str]]) -> Multitask:
    """Give a finished run's network; for other classes, with a detection head for them.

    The head's towers start from the run's own: where objects are, and how large, is known there.
    What says which class they are starts anew.

    Args:
        run: folder of the run.
        labels: detection and segmentation class names; the latter must be the run's.
    """
    state = load_checkpoint(run)
    if state['segmentation_labels'] != list(labels[1]):
        raise ModelError(f'{run}: the run has other segmentation classes than the recipe')
    network = averaged(state)
    if state['detection_labels'] == list(labels[0]):
        return network
    head = DetectionHead(len(labels[0]))
    kept = {
        name: value
        for name, value in network.detection.state_dict().items()
        if '.classes.' not in name
    }
    head.load_state_dict(kept, strict=False)
    network.detection = head
    return network


def leaf_figures(pipeline: Pipeline, folder: Path, task: str = DETECTION) -> dict[str, float]:
    """Measure a detector on the held-out images of a data set, at the pipeline's own size."""
    metric = DetectionMetric()
    labels = pipeline.manifest.tasks[task].labels
    before = pipeline.options
    pipeline.options = replace(JUDGED, size=before.size)
    classes = ClassMap(labels, (), read_taxonomy())
    with open_samples(str(folder), SourceOptions(split=HELD_OUT), classes) as source:
        for sample in source:
            result = pipeline.run(sample.frame, (task,))
            found = result.detections if task == DETECTION else result.extra.get(task)
            if sample.truth is not None and sample.truth.objects is not None:
                assert found is None or isinstance(found, Detections)
                metric.observe(found, sample.truth.objects)
    pipeline.options = before
    figures = metric.evaluate()
    return {name: float(figures[name] or 0.0) for name in ('ap', 'ap50')}


def leaf_validator(data: Path, recipe: Recipe, card: ModelCard) -> Validate:
    """Give a function that measures a network's detector on the recipe's held-out images."""
    folder = (data / recipe.detection_labels).parent

    def validate(network: Multitask) -> Mapping[str, float]:
        return leaf_figures(torch_pipeline(network, card), folder)

    return validate


def add_leaf(run: Path, model: Path, task: str, data: Path | None = None) -> dict[str, float]:
    """Add the detector of a run to a model folder as one more task; nothing else changes.

    Args:
        run: folder of a run that started from the model's own run with the trunk frozen.
        model: the model folder; its manifest and one more ONNX file are written.
        task: the new task's name, and its block's.
        data: a data set whose held-out images it is measured on, or None.

    Returns:
        `ap` and `ap50`; empty without data.

    Raises:
        ModelError: the folder's trunk is not the one that the detector was trained on.
    """
    state = load_checkpoint(run)
    blocks = {graph.name: graph for graph in block_graphs(averaged(state))}
    trunk, leaf = blocks['trunk'], replace(blocks[DETECTION], name=task)
    manifest = read_manifest_data(model)
    _check_trunk(trunk, model, manifest)
    tensors = example((trunk,), REFERENCE_SIZE)
    given = [tensors[source] for source in leaf.inputs.values()]
    path = model / f'{task}.onnx'
    export_block(leaf, given, path)
    for size in PARITY_SIZES:
        check_blocks((trunk, leaf), model, size)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest['blocks'][task] = block_entry(leaf, given, sha256)
    manifest['tasks'][task] = {
        'kind': DETECTION,
        'outputs': {name: f'{task}/{name}' for name in leaf.outputs},
        'labels': list(state['detection_labels']),
    }
    manifest['accuracy'] = [row for row in manifest['accuracy'] if row['task'] != task]
    write_manifest_data(model, manifest)
    if data is None:
        return {}
    figures = leaf_figures(Pipeline.load(model), data, task)
    row = Accuracy(task, 'ap', round(figures['ap'], 4), f'{data.name}, held-out images')
    manifest['accuracy'].append(asdict(row))
    write_manifest_data(model, manifest)
    return figures


def _check_trunk(trunk: BlockGraph, model: Path, manifest: Mapping[str, Any]) -> None:
    fits = manifest['blocks'].get('trunk', {}).get('outputs') == list(trunk.outputs)
    try:
        if fits:
            check_blocks((trunk,), model, PARITY_SIZES[0])
    except ModelError:
        fits = False
    if not fits:
        raise ModelError(
            f'{model}: its trunk is not the one that the task was trained on; train the task '
            'from the run that this model was exported from'
        )
