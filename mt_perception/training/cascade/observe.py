# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Runs both stages of a cascade on images that were not used in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mt_perception.errors import TaskError
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.parts import Parts
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.metrics.detection import DetectionMetric
from mt_perception.evaluation.metrics.segmentation import SegmentationMetric
from mt_perception.execution.executor import Executor
from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.options import Options
from mt_perception.execution.plan import Plan, Stage
from mt_perception.execution.postprocess.task_result import task_result
from mt_perception.model.folder import open_model
from mt_perception.model.sessions import load_sessions
from mt_perception.model.task_graph import IMAGE
from mt_perception.network.cascade_graphs import LOGITS, BoxCertainty, MapCertainty
from mt_perception.types import (
    DETECTION,
    SEGMENTATION,
    Detections,
    Frame,
    Segmentation,
    TaskResult,
)

NUMBERS: Mapping[str, tuple[type[BoxCertainty | MapCertainty], Mapping[str, str]]] = {
    DETECTION: (
        BoxCertainty,
        {name: f'detection/{name}' for name in ('scores', 'boxes', 'class_ids')},
    ),
    SEGMENTATION: (MapCertainty, {'logits': f'segmentation/{LOGITS}'}),
}
"""Task → the module that computes its gate's features, and the inputs of the module."""

# COCO counts 100 detections; AP of many resamples takes time.
_OPTIONS = Options(score_threshold=0.005, max_detections=100)

_NO_FRAME = Frame(np.zeros((1, 1, 3), np.uint8))
"""Placeholder for images, which the metrics do not read."""

_Metric = DetectionMetric | SegmentationMetric
_METRICS: Mapping[str, tuple[Callable[[], _Metric], str]] = {
    DETECTION: (DetectionMetric, 'ap'),
    SEGMENTATION: (SegmentationMetric, 'miou'),
}


@dataclass(frozen=True, eq=False)
class Observed:
    """Results of both stages on some images, for one task.

    Attributes:
        task: The task.
        samples: The N images with their labels.
        first: Results of the first stage, (N).
        both: Results of both stages, (N).
        numbers: (N, K), the gate's numbers.
    """

    task: str
    samples: Sequence[Sample]
    first: Sequence[TaskResult]
    both: Sequence[TaskResult]
    numbers: NDArray[np.float64]

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """Whether an image has labels of the task, (N,)."""
        return np.array([self._truth(sample) is not None for sample in self.samples])

    @cached_property
    def _metric(self) -> _Metric:
        """The metric of the labelled frames: results of the first stage, then of both stages."""
        metric = _METRICS[self.task][0]()
        for results in (self.first, self.both):
            for sample, result in zip(self.samples, results, strict=True):
                truth = sample.truth
                if truth is None or self._truth(sample) is None:
                    continue
                if isinstance(metric, DetectionMetric):
                    assert isinstance(result, Detections)
                    assert truth.objects is not None
                    metric.observe(result, truth.objects)
                else:
                    assert isinstance(result, Segmentation)
                    assert truth.segmentation is not None
                    labels = truth.segmentation_labels
                    metric.observe(result.class_ids, truth.segmentation, labels)
        return metric

    def value(
        self, second: NDArray[np.floating[Any]], drawn: NDArray[np.floating[Any]] | None = None
    ) -> NDArray[np.float64]:
        """Return the task's headline metric where some images get the second stage, (B,).

        Args:
            second: (B, N), share of the second stage in each image.
            drawn: (B, N), how often each image is drawn; None draws each once.
        """
        drawn = np.ones_like(second) if drawn is None else drawn
        weights = np.concatenate(
            [part[:, self.labelled] for part in ((1 - second) * drawn, second * drawn)], axis=1
        )
        return np.asarray(self._metric.resample(weights)[_METRICS[self.task][1]], np.float64)

    def _truth(self, sample: Sample) -> object:
        if sample.truth is None:
            return None
        return sample.truth.objects if self.task == DETECTION else sample.truth.segmentation


class TwoStages:
    """Runs every block of a model, and returns the results of both stages.

    Args:
        folder: The model folder.
    """

    def __init__(self, folder: Path) -> None:
        content = open_model(folder)
        self.manifest = content.manifest
        self._executor = Executor(load_sessions(content).by_block)
        blocks = tuple(self.manifest.graph.blocks.values())
        every = frozenset(block.tensor(name) for block in blocks for name in block.outputs)
        self._stage = Stage(blocks, results=every, releases=((),) * len(blocks))

    def run(self, frame: Frame) -> tuple[FrameRun, dict[str, tuple[TaskResult, TaskResult]]]:
        """Return the tensors of a frame, and task → its results of the first and both stages.

        Raises:
            TaskError: A block fails.
        """
        spec = self.manifest.input
        letterbox = spec.letterbox(frame.image.shape[:2], spec.size, 1.0)
        image = letterbox.network_image(frame.image, spec.pad_value)
        run = FrameRun(Plan((self._stage,)), frame, {IMAGE: image}, letterbox.network_size)
        self._executor.run(self._stage, run)
        if run.failures:
            raise TaskError(next(iter(run.failures.values())))
        early = self.manifest.early_tasks
        return run, {
            task.name: (
                task_result(early[task.name], run, letterbox, _OPTIONS),
                task_result(task, run, letterbox, _OPTIONS),
            )
            for task in self.manifest.tasks.values()
            if task.early
        }


def box_folders(data: Path, parts: Parts, part: str) -> list[str]:
    """Return the folders with boxes of which a part has images."""
    return [
        name
        for name in parts.folders(part)
        if parts.images.get(name, {}).get(part) and (data / name / 'instances.json').exists()
    ]


def observe(folder: Path, data: Path, parts: Parts, part: str) -> dict[str, Observed]:
    """Run both stages on all images of a part; return the results of each task with two stages.

    Args:
        folder: The model folder.
        data: The data folder.
        parts: Lists the images.
        part: Name of the part.
    """
    stages = TwoStages(folder)
    tasks = [task for task in NUMBERS if stages.manifest.tasks[task].early]
    labels = [stages.manifest.tasks[task].labels for task in NUMBERS]
    classes = ClassMap(labels[0], labels[1], read_taxonomy())
    modules = {task: NUMBERS[task][0]() for task in tasks}
    samples: list[Sample] = []
    numbers: dict[str, list[NDArray[np.float64]]] = {task: [] for task in tasks}
    results: dict[str, list[tuple[TaskResult, TaskResult]]] = {task: [] for task in tasks}
    for name in box_folders(data, parts, part):
        options = SourceOptions(keys=parts.images[name][part])
        with open_samples(str(data / name), options, classes) as source:
            for sample in source:
                run, found = stages.run(sample.frame)
                samples.append(replace(sample, frame=_NO_FRAME))
                for task in tasks:
                    inputs = [torch.from_numpy(run.tensors[t]) for t in NUMBERS[task][1].values()]
                    with torch.no_grad():
                        numbers[task].append(modules[task](*inputs)[0].double().numpy())
                    results[task].append(found[task])
    return {
        task: Observed(
            task,
            samples,
            [first for first, _ in results[task]],
            [both for _, both in results[task]],
            np.stack(numbers[task]),
        )
        for task in tasks
    }
