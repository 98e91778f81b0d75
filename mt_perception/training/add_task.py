# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Adds a detector that was trained on a frozen trunk to a model folder, as one more task."""

from __future__ import annotations

from collections.abc import Mapping
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
from mt_perception.network.graphs import BlockGraph, block_graphs
from mt_perception.pipeline import Pipeline
from mt_perception.training.checkpoint import NETWORK, load_checkpoint
from mt_perception.training.export.model_metrics import evaluation_options
from mt_perception.training.export.publish_model import averaged
from mt_perception.training.export.write_model import PARITY_SIZES, check_blocks, export_head
from mt_perception.types import DETECTION, Detections


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
    state = load_checkpoint(run, NETWORK)
    blocks = {graph.name: graph for graph in block_graphs(averaged(state))}
    trunk, head = blocks['trunk'], replace(blocks[DETECTION], name=task)
    manifest = read_manifest_data(model)
    check_trunk(trunk, model, manifest)
    manifest['blocks'][task] = export_head(head, trunk, model)
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
