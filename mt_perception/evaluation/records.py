# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Files of an evaluation: one JSON line for each frame, and a summary.

Two runs over the same data with the same model give the same bytes, except under the key
``timing``. Floats have the fewest digits that read back to the same value, so metrics computed
from a file equal those of the run.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mt_perception.data_files import parse_json, read_json
from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.record_form import check_frame, check_summary
from mt_perception.types import Result

FORMAT = 1
"""Version of both files' format."""

FRAMES_FILE = 'frames.jsonl'
SUMMARY_FILE = 'summary.json'

Json: TypeAlias = Any
"""What ``json`` writes: None, bool, int, float, str, and lists and string-keyed dicts of them."""


class Metric(Protocol):
    """A metric: ``reset``, ``process`` each frame, ``evaluate``; ``add`` reads a record back.

    The return value of ``process`` is part of the frame's record, and the record is all that
    ``add`` needs, so ``evaluate`` returns the same for processed and for read frames. A
    comparison can therefore resample frames without running the model again.
    """

    @property
    def name(self) -> str:
        """The key of this metric in records and summaries."""

    def reset(self) -> None:
        """Forget all frames; call before each source."""

    def process(self, sample: Sample, result: Result) -> Mapping[str, Json]:
        """Evaluate and add one frame; frames of a source come in order.

        Returns:
            This frame's metrics; empty without ground truth.
        """

    def add(self, record: FrameRecord) -> None:
        """Add a frame from its record."""

    def evaluate(self) -> Mapping[str, Json]:
        """The metrics over all frames; empty if no frame has any."""


@dataclass(frozen=True, eq=False)
class DetectionRecord:
    """Detections of one frame.

    Attributes:
        boxes: float32 (N, 4) x0 y0 x1 y1.
        scores: float32 (N,).
        labels: Class name of each box.
        track_ids: Identity of each box; None without tracking.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: tuple[str, ...]
    track_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class TruthRecord:
    """Ground truth of one frame, without its large arrays.

    Attributes:
        boxes: float32 (N, 4) x0 y0 x1 y1, or None if no objects are annotated in this source.
        labels: Class name of each box; empty if the model lacks the class.
        crowd: Whether each box is a crowd region.
        areas: float64 (N,) pixels.
        exhaustive: Names of the classes annotated exhaustively.
        segmentation: Whether there is a label image.
        depth: Whether there is a depth map.
        pseudo: Name of the reference model of pseudo ground truth, or empty.
        track_ids: Identity of each box; None where unknown.
    """

    boxes: NDArray[np.float32] | None
    labels: tuple[str, ...]
    crowd: tuple[bool, ...]
    areas: NDArray[np.float64]
    exhaustive: tuple[str, ...]
    segmentation: bool
    depth: bool
    pseudo: str
    track_ids: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class FrameRecord:
    """One line of ``frames.jsonl``.

    Attributes:
        key: The sample's key, unique in its source.
        source: The sample's source.
        stamp_ns: The frame's stamp in nanoseconds.
        image_size: (height, width) of the image in pixels.
        detections: The detections, or None without the task.
        truth: The ground truth, or None.
        metrics: Group → this frame's metrics.
        tasks: The requested tasks.
        blocks: The executed blocks.
        path: The plan's path through the graph.
        reason: Reason for this plan.
        macs: Multiply-accumulates that ran.
        network_size: (height, width) of the network's input in pixels.
        failures: Failed task → reason; all tasks if the frame was refused.
        digests: ``image``, ``truth``, ``depth``, ``segmentation`` → short hash of the values.
        extra: Values of optional parts: reuse, payload bytes, link state.
        latency_ms: Stage → wall time. Times are all that differs between two runs.
        block_ms: Block → wall time.
    """

    key: str
    source: str
    stamp_ns: int
    image_size: tuple[int, int]
    detections: DetectionRecord | None
    truth: TruthRecord | None
    metrics: Mapping[str, Mapping[str, Json]]
    tasks: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    path: str = ''
    reason: str = ''
    macs: int = 0
    network_size: tuple[int, int] = (0, 0)
    failures: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Json] = field(default_factory=dict)
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    block_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Summary:
    """All of ``summary.json``: one source evaluated with one model and one set of parameters.

    Attributes:
        source: Name of the source, usable as the name of a folder.
        model: ``name``, ``version``, ``sha256`` of the model's manifest (which holds those of
            its files), ``labels`` by task; for a baseline also ``baseline``, its networks.
        data: ``kind``; ``sha256`` over keys and pixels in order; ``truth_sha256`` over the
            ground truth in this model's labels; ``truth``: its kinds; ``pseudo``: the reference
            model's name or empty; ``notes``: sentences on ground truth that was not used.
        parameters: All parameters of this run, by name.
        metrics: Group → metrics over all frames.
        counts: ``frames``; ``failed``, frames with a failed task; ``refused``, images or ground
            truths that could not be read; ``macs_mean`` a frame.
        failures: Reason → number of frames.
        machine: Processor, cores, memory and system.
        versions: Package → version.
        timing: All that differs between two runs: stage → percentiles, frames/s.
    """

    source: str
    model: Mapping[str, Json]
    data: Mapping[str, Json]
    parameters: Mapping[str, Json]
    metrics: Mapping[str, Mapping[str, Json]]
    counts: Mapping[str, Json]
    failures: Mapping[str, int]
    machine: Mapping[str, Json]
    versions: Mapping[str, str]
    timing: Mapping[str, Json]


def to_json(value: object) -> Json:
    """Plain JSON of numbers, arrays, tuples and mappings; non-finite numbers become None."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.float32):
        # The shortest decimal that is this float32; float(value) would print 17 digits.
        return float(str(value)) if np.isfinite(value) else None
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.ndarray):
        return [to_json(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(to_json(item) for item in value)
    if isinstance(value, Iterable):
        return [to_json(item) for item in value]
    raise TypeError(f'a record cannot hold values of type {type(value).__name__}')


def frame_line(record: FrameRecord) -> str:
    """The record as one line of JSON, without the line's end."""
    fields = {name: getattr(record, name) for name in FrameRecord.__dataclass_fields__}
    fields['detections'] = _plain(record.detections)
    fields['truth'] = _plain(record.truth)
    fields['timing'] = {name: fields.pop(name) for name in ('latency_ms', 'block_ms')}
    return _dump({'format': FORMAT, **fields})


def parse_frame(line: str) -> FrameRecord:
    """Read a line of ``frame_line``.

    Raises:
        SourceError: The line has another form or format version.
    """
    fields = _checked(parse_json(line, 'frame record', SourceError), 'frame record')
    try:
        check_frame(fields)
        timing = fields.pop('timing')
        fields['latency_ms'] = timing['latency_ms']
        # Records of earlier versions have blocks among the stages.
        fields['block_ms'] = timing.get('block_ms', {})
        fields['detections'] = _detections(fields['detections'])
        fields['truth'] = _truth(fields['truth'])
        for name in ('tasks', 'blocks', 'image_size', 'network_size'):
            fields[name] = tuple(fields[name])
        return FrameRecord(**fields)
    except (KeyError, TypeError, ValueError) as error:
        raise SourceError(f'not a frame record of this version: {error!r}') from error


def read_frames(path: Path) -> Iterator[FrameRecord]:
    """The records of a ``frames.jsonl``, in order.

    Raises:
        SourceError: The file cannot be read, or a line is no record.
    """
    number = 0
    try:
        with path.open(encoding='utf-8') as lines:
            for line in lines:
                number += 1
                yield parse_frame(line)
    except SourceError as error:
        raise SourceError(f'{path}, line {number}: {error}') from error
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f'cannot read the records {path}: {error}') from error


def count_records(path: Path) -> int:
    """The number of complete lines of a ``frames.jsonl``; -1 if it cannot be read."""
    try:
        with path.open('rb') as lines:
            return sum(line.endswith(b'\n') for line in lines)
    except OSError:
        return -1


def summary_text(summary: Summary) -> str:
    """The summary as indented JSON."""
    fields = {name: getattr(summary, name) for name in Summary.__dataclass_fields__}
    data = to_json({'format': FORMAT, **fields})
    return json.dumps(data, sort_keys=True, indent=1, allow_nan=False) + '\n'


def read_summary(path: Path) -> Summary:
    """Read a ``summary.json``.

    Raises:
        SourceError: The file cannot be read, or has another form or format version.
    """
    try:
        fields = _checked(read_json(path, SourceError), str(path))
        check_summary(fields)
        return Summary(**fields)
    except TypeError as error:
        raise SourceError(f'cannot read the summary {path}: {error}') from error


def without_timing(line: str) -> str:
    """A line or summary without what may differ between two runs."""
    return _dump(
        {k: v for k, v in parse_json(line, 'record', SourceError).items() if k != 'timing'}
    )


def _dump(value: Mapping[str, object]) -> str:
    return json.dumps(to_json(value), sort_keys=True, separators=(',', ':'), allow_nan=False)


def _checked(fields: Any, what: str) -> dict[str, Json]:
    found = fields.pop('format', None) if isinstance(fields, dict) else None
    if found != FORMAT:
        raise SourceError(
            f'{what} has format {found}, expected {FORMAT}; evaluate again, or use the version '
            'that wrote it'
        )
    result: dict[str, Json] = fields
    return result


def value_at(values: Json, path: Iterable[str]) -> float | None:
    """The number behind a path of keys; None where there is none."""
    for key in path:
        values = values.get(key) if isinstance(values, Mapping) else None
    is_number = isinstance(values, (int, float)) and not isinstance(values, bool)
    return float(values) if is_number else None


def _plain(record: DetectionRecord | TruthRecord | None) -> dict[str, object] | None:
    return None if record is None else dict(vars(record))


def _detections(fields: Mapping[str, Json] | None) -> DetectionRecord | None:
    if fields is None:
        return None
    boxes = np.asarray(fields['boxes'], np.float32).reshape(-1, 4)
    scores, labels = np.asarray(fields['scores'], np.float32), tuple(fields['labels'])
    if not scores.shape == (len(boxes),) == (len(labels),):
        raise ValueError(f'{len(boxes)} boxes have {scores.size} scores and {len(labels)} labels')
    return DetectionRecord(boxes, scores, labels, _track_ids(fields, len(boxes)))


def _truth(fields: Mapping[str, Json] | None) -> TruthRecord | None:
    if fields is None:
        return None
    boxes = fields['boxes']
    lengths = {len(fields[name]) for name in ('labels', 'crowd', 'areas')}
    if lengths != {len(boxes or ())}:
        raise ValueError(f'boxes, labels, crowd and areas of the ground truth differ: {lengths}')
    return TruthRecord(
        boxes=None if boxes is None else np.asarray(boxes, np.float32).reshape(-1, 4),
        labels=tuple(fields['labels']),
        crowd=tuple(fields['crowd']),
        areas=np.asarray(fields['areas'], np.float64),
        exhaustive=tuple(fields['exhaustive']),
        segmentation=fields['segmentation'],
        depth=fields['depth'],
        pseudo=fields['pseudo'],
        track_ids=_track_ids(fields, len(boxes or ())),
    )


def _track_ids(fields: Mapping[str, Json], count: int) -> tuple[int, ...] | None:
    """Identities; records of earlier versions have none."""
    found = fields.get('track_ids')
    if found is not None and len(found) != count:
        raise ValueError(f'{count} boxes have {len(found)} track_ids')
    return None if found is None else tuple(found)
