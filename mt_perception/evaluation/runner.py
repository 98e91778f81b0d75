# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The evaluation loop: each sample through a predictor into a record and the metrics."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import PerceptionError, SourceError
from mt_perception.evaluation.datasets.sample_source import SampleSource
from mt_perception.evaluation.datasets.truth import GroundTruth, Sample
from mt_perception.evaluation.machine import machine, versions
from mt_perception.evaluation.metrics.cost import latencies
from mt_perception.evaluation.output import RecordWriter
from mt_perception.evaluation.predictor import Predictor
from mt_perception.evaluation.records import (
    DetectionRecord,
    FrameRecord,
    Json,
    Metric,
    Summary,
    TruthRecord,
)
from mt_perception.reports import Execution
from mt_perception.types import Frame, Result

DIGEST_BYTES = 16

Progress = Callable[[int, 'int | None'], None]
"""Told after every frame: frames done, and frames to expect if that is known."""


def evaluate(
    samples: SampleSource,
    predictor: Predictor,
    metrics: Sequence[Metric],
    writer: RecordWriter,
    *,
    parameters: Mapping[str, Json],
    at_once: int = 1,
    limit: int | None = None,
    progress: Progress = lambda done, total: None,
    keep: Callable[[Sample, Result], None] = lambda sample, result: None,
) -> Summary:
    """Run all samples of a source, write a line for each, and sum up.

    Every frame is run to its end before the next one is read, so that the machine's speed has no
    influence on any figure but those of time.

    Args:
        samples: The source, open.
        predictor: What is measured.
        metrics: How it is judged.
        writer: Where records go.
        parameters: What was chosen for this run, for the summary.
        at_once: How many evaluations share the machine, for the summary.
        limit: Stop after so many samples.
        progress: Told after every frame.
        keep: Given every sample and its result, for instance to write them into a bag.

    Raises:
        SourceError: The source became unreadable or gave no image.
        OutputError: The records cannot be written.
    """
    for metric in metrics:
        metric.reset()
    tally = _Tally()
    start = time.perf_counter()
    total = samples.length if limit is None else min(limit, samples.length or limit)
    for sample, result in run_all(samples, predictor, limit):
        record = _record(sample, result, metrics)
        writer.add(record)
        tally.add(record)
        keep(sample, result)
        progress(tally.frames, total)
    if not tally.frames:
        refused = ', '.join(f'{reason} {n} times' for reason, n in sorted(samples.rejects.items()))
        raise SourceError(
            f'{samples.name} gave no image that can be used; refused: {refused or "none"}'
        )
    seconds = time.perf_counter() - start
    summary = Summary(
        source=samples.name,
        model=predictor.identity,
        data={
            'kind': samples.kind,
            'sha256': tally.images.hexdigest(),
            'truth_sha256': tally.truth.hexdigest(),
            'truth': samples.truth_kinds,
            'pseudo': tally.pseudo,
        },
        parameters=parameters,
        metrics={metric.name: metric.evaluate() for metric in metrics},
        counts={
            'frames': tally.frames,
            'failed': tally.failed,
            'refused': sum(samples.rejects.values()),
            'macs_mean': tally.macs / tally.frames,
        },
        failures=dict(samples.rejects + tally.failures),
        machine=machine(),
        versions=versions(),
        timing={**tally.timing(seconds), 'jobs_at_once': at_once},
    )
    writer.finish(summary)
    return summary


def run_all(
    samples: Iterable[Sample], predictor: Predictor, limit: int | None = None
) -> Iterator[tuple[Sample, Result]]:
    """Every sample with its result; a frame that is refused has a result without outputs."""
    for sample in islice(samples, limit):
        try:
            result = predictor.run(sample.frame)
        except PerceptionError as error:
            result = _refused(sample.frame, tuple(predictor.labels), str(error))
        yield sample, result


class _Tally:
    """What is counted over all frames."""

    def __init__(self) -> None:
        self.frames = 0
        self.failed = 0
        self.macs = 0
        self.pseudo = ''
        self.failures: Counter[str] = Counter()
        self.images = hashlib.sha256()
        self.truth = hashlib.sha256()
        self._latency_ms: list[Mapping[str, float]] = []
        self._block_ms: list[Mapping[str, float]] = []

    def add(self, record: FrameRecord) -> None:
        self.frames += 1
        self.failed += bool(record.failures)
        self.macs += record.macs
        self.failures.update(f'{task}: {why}' for task, why in record.failures.items())
        if record.truth is not None:
            self.pseudo = record.truth.pseudo
        digests = record.digests
        self.images.update(f'{record.key}\n{digests["image"]}\n'.encode())
        self.truth.update(f'{record.key}\n{digests.get("truth", "")}\n'.encode())
        self._latency_ms.append(record.latency_ms)
        self._block_ms.append(record.block_ms)

    def timing(self, seconds: float) -> dict[str, Json]:
        return {
            'latency_ms': latencies(self._latency_ms),
            'block_ms': latencies(self._block_ms),
            'seconds': seconds,
            'frames_per_s': self.frames / seconds,
        }


def _record(sample: Sample, result: Result, metrics: Sequence[Metric]) -> FrameRecord:
    figures = {metric.name: metric.process(sample, result) for metric in metrics}
    run = result.execution
    return FrameRecord(
        key=sample.key,
        source=sample.source,
        stamp_ns=result.stamp_ns,
        image_size=(sample.frame.image.shape[0], sample.frame.image.shape[1]),
        detections=_detection_record(result),
        truth=_truth_record(sample.truth),
        metrics={name: found for name, found in figures.items() if found},
        tasks=run.tasks,
        blocks=run.blocks,
        path=run.path,
        reason=run.reason,
        macs=run.macs,
        network_size=run.network_size,
        failures=result.failures,
        digests=_digests(sample, result),
        extra=run.values(),
        latency_ms=run.stage_ms,
        block_ms=run.block_ms,
    )


def _detection_record(result: Result) -> DetectionRecord | None:
    found = result.detections
    if found is None:
        return None
    names = tuple(found.labels[i] for i in found.class_ids)
    return DetectionRecord(found.boxes, found.scores, names)


def _truth_record(truth: GroundTruth | None) -> TruthRecord | None:
    if truth is None:
        return None
    objects = truth.objects
    labels = () if objects is None else objects.labels
    ids = () if objects is None else objects.class_ids
    return TruthRecord(
        boxes=None if objects is None else objects.boxes,
        labels=tuple(labels[i] if i >= 0 else '' for i in ids),
        crowd=() if objects is None else tuple(bool(c) for c in objects.crowd),
        areas=np.zeros(0) if objects is None else objects.areas,
        exhaustive=() if objects is None else tuple(sorted(labels[i] for i in objects.exhaustive)),
        segmentation=truth.segmentation is not None,
        depth=truth.depth is not None,
        pseudo=truth.pseudo,
    )


def _digests(sample: Sample, result: Result) -> dict[str, str]:
    """Short hashes of the pixels: two runs gave the same outputs if, and only if, these agree."""
    found = {'image': digest(sample.frame.image)}
    if sample.truth is not None:
        objects = sample.truth.objects
        known: list[NDArray[Any] | None] = [sample.truth.segmentation, sample.truth.depth]
        if objects is not None:
            known += [objects.boxes, objects.class_ids, objects.crowd, objects.areas]
        found['truth'] = digest(*(array for array in known if array is not None))
    if result.depth is not None:
        found['depth'] = digest(result.depth.depth)
    if result.segmentation is not None:
        found['segmentation'] = digest(result.segmentation.class_ids)
    return found


def digest(*arrays: NDArray[Any]) -> str:
    """A short hash over shapes and values."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for array in arrays:
        state.update(f'{array.dtype.str}{array.shape}'.encode())
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


def _refused(frame: Frame, tasks: tuple[str, ...], reason: str) -> Result:
    return Result(
        stamp_ns=frame.stamp_ns,
        frame_id=frame.frame_id,
        detections=None,
        depth=None,
        segmentation=None,
        execution=Execution(
            tasks=tasks, blocks=(), path='', reason=reason, macs=0, network_size=(0, 0),
            stage_ms={},
        ),
        failures=dict.fromkeys(tasks, reason),
    )  # fmt: skip
