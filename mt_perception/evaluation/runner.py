# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The evaluation loop: each sample through a predictor into a record and the metrics."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType

from mt_perception.errors import PerceptionError, SourceError
from mt_perception.evaluation.datasets.sample_source import SampleSource
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.frame_record import digests, frame_record
from mt_perception.evaluation.machine import machine, versions
from mt_perception.evaluation.metrics.cost import latencies
from mt_perception.evaluation.predictor import Predictor
from mt_perception.evaluation.record_writer import RecordWriter
from mt_perception.evaluation.records import FrameRecord, Json, Metric, Summary
from mt_perception.reports import Execution, ScaleReport, scale_sentence
from mt_perception.types import Frame, Result

Progress = Callable[[int, 'int | None'], None]
"""Called after each frame with the number of frames, and the expected number if known."""


def evaluate(
    samples: SampleSource,
    predictor: Predictor,
    metrics: Sequence[Metric],
    writer: RecordWriter,
    *,
    parameters: Mapping[str, Json],
    inputs: Mapping[str, str] = MappingProxyType({}),
    at_once: int = 1,
    limit: int | None = None,
    progress: Progress = lambda done, total: None,
    keep: Callable[[Sample, Result], None] = lambda sample, result: None,
) -> Summary:
    """Run all samples of a source, and write a line for each and a summary.

    Each frame completes before the next one is read, so the machine's speed changes no metric
    except times.

    Args:
        samples: The source, open.
        predictor: The model.
        metrics: The metrics.
        writer: Writes the records.
        parameters: All parameters of this run, for the summary.
        inputs: State of the files that are read, for the summary.
        at_once: Number of evaluations that share the machine, for the summary.
        limit: Largest number of samples.
        progress: Called after each frame.
        keep: Called with each sample and its result, for example to write a bag.

    Raises:
        SourceError: The source became unreadable or has no usable image.
        OutputError: The records cannot be written.
    """
    for metric in metrics:
        metric.reset()
    tally = _Tally()
    start = time.perf_counter()
    total = samples.length if limit is None else min(limit, samples.length or limit)
    for sample, result in run_all(samples, predictor, limit):
        values = {metric.name: metric.process(sample, result) for metric in metrics}
        record = frame_record(
            sample.frame,
            result,
            key=sample.key,
            source=sample.source,
            truth=sample.truth,
            metrics={name: found for name, found in values.items() if found},
            digests=digests(sample, result),
        )
        writer.add(record)
        tally.add(record, result)
        keep(sample, result)
        progress(tally.frames, total)
    if not tally.frames:
        refused = ', '.join(f'{reason} {n} times' for reason, n in sorted(samples.rejects.items()))
        raise SourceError(f'{samples.name} has no usable image; refused: {refused or "none"}')
    seconds = time.perf_counter() - start
    summary = Summary(
        source=samples.name,
        model=predictor.identity,
        data={**tally.data(samples), 'inputs': dict(inputs)},
        parameters=parameters,
        metrics={metric.name: metric.evaluate() for metric in metrics},
        counts=tally.counts(samples),
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
    """Counts over all frames."""

    def __init__(self) -> None:
        self.frames = 0
        self.failed = 0
        self.macs = 0
        self.pseudo = ''
        self.guessed = 0
        self.scales: list[ScaleReport] = []
        self.failures: Counter[str] = Counter()
        self.images = hashlib.sha256()
        self.truth = hashlib.sha256()
        self._latency_ms: list[Mapping[str, float]] = []
        self._block_ms: list[Mapping[str, float]] = []

    def add(self, record: FrameRecord, result: Result) -> None:
        self.frames += 1
        if result.depth is not None:
            self.guessed += result.depth.assumed_intrinsics
            self.scales.append(result.depth.scale)
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

    def data(self, samples: SampleSource) -> dict[str, Json]:
        return {
            'kind': samples.kind,
            'sha256': self.images.hexdigest(),
            'truth_sha256': self.truth.hexdigest(),
            'truth': samples.truth_kinds,
            'pseudo': self.pseudo,
            'notes': (*samples.all_notes(), *self._notes()),
        }

    def counts(self, samples: SampleSource) -> dict[str, Json]:
        return {
            'frames': self.frames,
            'failed': self.failed,
            'refused': sum(samples.rejects.values()),
            'macs_mean': self.macs / self.frames,
        }

    def _notes(self) -> list[str]:
        scale = [scale_sentence(self.scales)] if any(s.is_measured for s in self.scales) else []
        if not self.guessed:
            return scale
        return [
            *scale,
            f'the focal length was assumed for {self.guessed} frames, so metric depth has an '
            'unknown scale: give --camera-info or --focal-px',
        ]

    def timing(self, seconds: float) -> dict[str, Json]:
        return {
            'latency_ms': latencies(self._latency_ms),
            'block_ms': latencies(self._block_ms),
            'seconds': seconds,
            'frames_per_s': self.frames / seconds,
        }


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
