# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Predictors: a model folder or a baseline that an evaluation runs on frames."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mt_perception.errors import ModelError, OptionError
from mt_perception.evaluation.baselines.open_baseline import PREFIX, open_baseline
from mt_perception.evaluation.datasets.taxonomy import ClassMap, Taxonomy
from mt_perception.evaluation.rate_distortion import parse_codec, through
from mt_perception.evaluation.records import Json
from mt_perception.execution.options import Options
from mt_perception.model.folder import MANIFEST
from mt_perception.model.providers import CPU
from mt_perception.pipeline import Pipeline
from mt_perception.planning.budget import Budget
from mt_perception.types import DETECTION, SEGMENTATION, Frame, Result


@dataclass(frozen=True)
class RunSettings:
    """Run-time settings of a model; plain values, which can be sent to other processes.

    Attributes:
        options: Options of the pipeline. Average precision needs detections of every score, so
            the default score threshold is 0.
        providers: ONNX Runtime execution providers, preferred first.
        threads: Threads inside one operator.
        tasks: The tasks to run; None means all of the model.
        budget: Budget of a frame; baselines ignore it.
        offload: Remote host for offloading, for the record; empty without one.
        codec: Codec that compresses frames first, see ``rate_distortion``; empty without one.
    """

    options: Options = field(default_factory=lambda: Options(score_threshold=0.0))
    providers: tuple[str, ...] = (CPU,)
    threads: int = 1
    tasks: tuple[str, ...] | None = None
    budget: Budget = field(default_factory=Budget)
    offload: str = ''
    codec: str = ''


@dataclass(frozen=True, eq=False)
class Predictor:
    """Returns a result for a frame.

    Attributes:
        name: Name of the model.
        labels: Task → class names, for every task that it runs; empty for depth.
        identity: ``name``, ``version``, ``sha256``, for the summary.
        run: Returns the result of one frame; raises PerceptionError for an unusable frame.
    """

    name: str
    labels: Mapping[str, tuple[str, ...]]
    identity: Mapping[str, Json]
    run: Callable[[Frame], Result]

    def classes(self, taxonomy: Taxonomy) -> ClassMap:
        """The map from data sets' class names to this predictor's labels."""
        return ClassMap(
            self.labels.get(DETECTION, ()), self.labels.get(SEGMENTATION, ()), taxonomy
        )


def open_predictor(
    model: str,
    settings: RunSettings,
    prepare: Callable[[Pipeline], object] = lambda pipeline: None,
) -> Predictor:
    """Load a model folder or a baseline (``onnx:…``).

    Args:
        model: The model folder, or a baseline's specification.
        settings: How to run it.
        prepare: Called with the pipeline of a model folder before its first frame.

    Raises:
        ModelError: The folder is refused, or lacks a requested task.
        OptionError: The model does not support the options or the budget.
    """
    if model.startswith(PREFIX):
        return _baseline(model, settings)
    pipeline = Pipeline.load(
        model,
        settings.options,
        settings.providers,
        settings.threads,
        budget=settings.budget,
    )
    if settings.codec:
        through(pipeline, Path(model), parse_codec(settings.codec))
    prepare(pipeline)
    manifest = pipeline.manifest
    tasks = settings.tasks or tuple(manifest.tasks)
    _check_tasks(manifest.name, tasks, manifest.tasks)
    labels = {task: manifest.tasks[task].labels for task in tasks}
    identity = {
        'name': manifest.name,
        'version': manifest.version,
        'sha256': model_sha256(model),
        'labels': labels,
        'providers': pipeline.providers,
        'warnings': pipeline.warnings,
    }

    def run(frame: Frame) -> Result:
        return pipeline.run(frame, tasks, confidence=True)

    return Predictor(manifest.name, labels, identity, run)


def model_sha256(model: str) -> str:
    """SHA-256 that identifies a version of a model; empty if its files cannot be read.

    It is the manifest's, which holds those of all other files; a baseline has one a network.
    """
    if model.startswith(PREFIX):
        parts = model.removeprefix(PREFIX).split('+')
        files = [Path(p) if Path(p).is_file() else Path(p.rpartition(':')[0]) for p in parts]
    else:
        files = [Path(model) / MANIFEST]
    try:
        return '+'.join(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
    except OSError:
        return ''


def _baseline(spec: str, settings: RunSettings) -> Predictor:
    if settings.codec:
        raise OptionError(
            f'{spec}: codec {settings.codec} is for model folders, not for baselines'
        )
    baseline = open_baseline(spec, settings.options, settings.threads)
    tasks = settings.tasks or tuple(baseline.labels)
    _check_tasks(baseline.name, tasks, baseline.labels)
    labels = {task: baseline.labels[task] for task in tasks}
    return Predictor(
        baseline.name, labels, baseline.identity, lambda frame: baseline.run(frame, tasks)
    )


def _check_tasks(name: str, wanted: Iterable[str], served: Collection[str]) -> None:
    missing = [task for task in wanted if task not in served]
    if missing:
        raise ModelError(
            f'model {name} does not serve {", ".join(missing)}; it serves {", ".join(served)}'
        )
