# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Adds a detector that was trained on a frozen trunk to a model folder, as one more task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from mt_perception.errors import ModelError
from mt_perception.evaluation.datasets.dataset_folder import HELD_OUT
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.model.folder import (
    MANIFEST,
    read_manifest,
    read_manifest_data,
    write_manifest_data,
)
from mt_perception.model.manifest import Accuracy
from mt_perception.network.detection import DetectionHead
from mt_perception.network.graphs import BlockGraph, block_graphs
from mt_perception.network.multitask import NETWORKS, Multitask, build
from mt_perception.network.pretrained import load_blocks
from mt_perception.pipeline import Pipeline
from mt_perception.training.checkpoint import FILE, load_checkpoint
from mt_perception.training.export.export import (
    PARITY_SIZES,
    REFERENCE_SIZE,
    ModelCard,
    block_entry,
    check_blocks,
    example,
    export_block,
    inputs_of,
    sha256,
)
from mt_perception.training.export.metrics import evaluation_options
from mt_perception.training.export.publish_model import averaged
from mt_perception.training.export.torch_runner import torch_pipeline
from mt_perception.training.loop import Validate
from mt_perception.training.recipe import Recipe
from mt_perception.types import DETECTION, SEGMENTATION, Detections


def has_other_detector(run: Path, labels: tuple[Sequence[str], Sequence[str]]) -> bool:
    """Return whether a run's or a model's detector has other classes than these labels."""
    return read_start(run)[1][0] != tuple(labels[0])


def read_start(start: Path) -> tuple[Multitask, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Read the network to start from: of a finished run, or of a model folder.

    Returns:
        The network with its averaged weights, and its detection and segmentation classes.
    """
    if (start / MANIFEST).is_file() and not (start / FILE).is_file():
        tasks = read_manifest(start).tasks
        detection, segmentation = (tuple(tasks[t].labels) for t in (DETECTION, SEGMENTATION))
        # A model folder may have any name; there is one kind of network so far.
        network = build(next(iter(NETWORKS)), len(detection), len(segmentation))
        load_blocks(network, start)
        return network.eval(), (detection, segmentation)
    state = load_checkpoint(start)
    labels = tuple(state['detection_labels']), tuple(state['segmentation_labels'])
    return averaged(state), labels


def network_to_start_from(run: Path, labels: tuple[Sequence[str], Sequence[str]]) -> Multitask:
    """Return the network to start from; for other classes, with a detection head for them.

    The new head keeps the run's box and objectness layers and the towers. Only its class layers
    start from random weights.

    Args:
        run: folder of the run, or of a model.
        labels: detection and segmentation class names; the latter must be the run's.
    """
    network, (detection, segmentation) = read_start(run)
    if segmentation != tuple(labels[1]):
        raise ModelError(f'{run}: it has other segmentation classes than the recipe')
    if detection == tuple(labels[0]):
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


def detector_metrics(pipeline: Pipeline, folder: Path, task: str = DETECTION) -> dict[str, float]:
    """Measure a detector on the held-out images of a data set, at the pipeline's own size."""
    metric = DetectionMetric()
    labels = pipeline.manifest.tasks[task].labels
    classes = ClassMap(labels, (), read_taxonomy())
    options = SourceOptions(split=HELD_OUT)
    with evaluation_options(pipeline), open_samples(str(folder), options, classes) as source:
        for sample in source:
            result = pipeline.run(sample.frame, (task,))
            found = result.detections if task == DETECTION else result.extra.get(task)
            if sample.truth is not None and sample.truth.objects is not None:
                assert found is None or isinstance(found, Detections)
                metric.observe(found, sample.truth.objects)
    found_metrics = metric.evaluate()
    return {name: float(found_metrics[name] or 0.0) for name in ('ap', 'ap50')}


def detector_validator(data: Path, recipe: Recipe, card: ModelCard) -> Validate:
    """Return a function that measures a network's detector on the recipe's held-out images."""
    folder = (data / recipe.detection_labels).parent

    def validate(network: Multitask) -> Mapping[str, float]:
        return detector_metrics(torch_pipeline(network, card), folder)

    return validate


def add_task(run: Path, model: Path, task: str, data: Path | None = None) -> dict[str, float]:
    """Add the detector of a run to a model folder as one more task; nothing else changes.

    Args:
        run: folder of a run that started from the model's own run with the trunk frozen.
        model: the model folder; its manifest and one more ONNX file are written.
        task: name of the new task and of its block.
        data: data set whose held-out images measure it, or None.

    Returns:
        `ap` and `ap50`; empty without data.

    Raises:
        ModelError: the folder's trunk is not the one that the detector was trained on.
    """
    state = load_checkpoint(run)
    blocks = {graph.name: graph for graph in block_graphs(averaged(state))}
    trunk, head = blocks['trunk'], replace(blocks[DETECTION], name=task)
    manifest = read_manifest_data(model)
    check_trunk(trunk, model, manifest)
    given = inputs_of(head, example((trunk,), REFERENCE_SIZE))
    path = model / f'{task}.onnx'
    export_block(head, given, path)
    for size in PARITY_SIZES:
        check_blocks((trunk, head), model, size)
    manifest['blocks'][task] = block_entry(head, given, sha256(path))
    manifest['tasks'][task] = {
        'kind': DETECTION,
        'outputs': {name: f'{task}/{name}' for name in head.outputs},
        'labels': list(state['detection_labels']),
    }
    manifest['accuracy'] = [row for row in manifest['accuracy'] if row['task'] != task]
    write_manifest_data(model, manifest)
    if data is None:
        return {}
    metrics = detector_metrics(Pipeline.load(model), data, task)
    row = Accuracy(task, 'ap', round(metrics['ap'], 4), f'{data.name}, held-out images')
    manifest['accuracy'].append(asdict(row))
    write_manifest_data(model, manifest)
    return metrics


def check_trunk(trunk: BlockGraph, model: Path, manifest: Mapping[str, Any]) -> None:
    """Check that a trunk is the one of a model folder.

    Raises:
        ModelError: the folder has another trunk.
    """
    same = manifest['blocks'].get('trunk', {}).get('outputs') == list(trunk.outputs)
    try:
        if same:
            check_blocks((trunk,), model, PARITY_SIZES[0])
    except ModelError:
        same = False
    if not same:
        raise ModelError(
            f'{model}: its trunk is not the one that the task was trained on; train the task '
            'from the run that this model was exported from'
        )
