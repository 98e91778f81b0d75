# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The frames worth looking at: the best, the worst and typical ones, beside what is true."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import PerceptionError
from mt_perception.evaluation.datasets.truth import GroundTruth, Sample, TrueObjects
from mt_perception.evaluation.frame_record import digest
from mt_perception.evaluation.job import Job, revisit
from mt_perception.evaluation.records import FrameRecord
from mt_perception.evaluation.report.metric_columns import SURE
from mt_perception.evaluation.runs import Run
from mt_perception.geometry.camera import typical
from mt_perception.image.overlay import (
    Picture,
    depth_picture,
    draw_detections,
    draw_segmentation,
)
from mt_perception.model.paths import FULL_PATH
from mt_perception.types import (
    DEPTH,
    DETECTION,
    SEGMENTATION,
    DepthMap,
    Detections,
    Result,
    Segmentation,
)

BEST, TYPICAL, WORST, SAMPLE = 'best', 'typical', 'worst', 'sample'

_PANEL_SIZE = (260, 340)
_QUALITY = 80
_APART = 20
_FIGURES: Sequence[tuple[str, tuple[str, ...], str]] = (
    (DETECTION, ('ap',), 'AP'),
    (SEGMENTATION, ('miou',), 'mIoU'),
    (DEPTH, ('metric', 'delta1'), 'δ1'),
    (DEPTH, ('affine', 'delta1'), 'δ1 fitted'),
)


@dataclass(frozen=True)
class Shown:
    """One frame of the report.

    Attributes:
        kind: Why it was chosen: best, typical, worst, or one of several.
        key: The frame's key.
        figures: What was measured on it, in words.
        jpeg: The picture, as base64.
        size: (height, width) of the picture.
    """

    kind: str
    key: str
    figures: str
    jpeg: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Pictures:
    """Frames of one run, and what must be said about them.

    Attributes:
        frames: What was found in them, below what is true.
        warning: What must be said, or nothing.
        compressed: Frames that were sent as few bytes, see ``compressed``.
    """

    frames: tuple[Shown, ...] = ()
    warning: str = ''
    compressed: tuple[Shown, ...] = ()

    def beside(self, others: Pictures) -> Pictures:
        """These and others, and what must be said about either."""
        return Pictures(
            (*self.frames, *others.frames),
            self.warning or others.warning,
            (*self.compressed, *others.compressed),
        )


def draw(job: Job, run: Run, each: int) -> Pictures:
    """Run the frames that are worth looking at once more, and draw them.

    Args:
        job: The job.
        run: What became of it.
        each: How many of the best, of the typical and of the worst.
    """
    apart = max(1, len(run.frames) // _APART) if run.is_recording else 1
    kinds = choose(run.frames, each, apart)
    records = {record.key: record for record in run.frames}
    made: dict[str, Shown] = {}
    warning = ''
    try:
        for sample, result in revisit(job, set(kinds)):
            key = sample.key
            made[key] = show(kinds[key], records[key], sample, result)
            if not _same(records[key], result):
                warning = (
                    'The pictures are not of what was measured: the model or the data has '
                    'changed since. Evaluate again with --fresh.'
                )
    except PerceptionError as error:
        warning = f'There are no pictures, because source or model cannot be read again: {error}'
    return Pictures(tuple(made[key] for key in kinds if key in made), warning)


def _same(record: FrameRecord, result: Result) -> bool:
    """Whether a frame gave the same maps and boxes as when it was measured."""
    now = {
        'depth': None if result.depth is None else digest(result.depth.depth),
        'segmentation': result.segmentation and digest(result.segmentation.class_ids),
    }
    found = result.detections
    before = record.detections
    boxes = found is None or before is None or np.array_equal(found.boxes, before.boxes)
    return boxes and all(record.digests.get(name) == value for name, value in now.items())


def choose(frames: Sequence[FrameRecord], each: int, apart: int = 1) -> dict[str, str]:
    """The keys of the frames to show, with the reason.

    Frames are ranked by the mean of their ranks in every figure that they have. Without truth,
    frames are taken evenly.

    Args:
        frames: All frames.
        each: How many of the best, of the typical and of the worst.
        apart: Least distance between two frames that are shown, in frames: neighbours in a
            recording look alike.

    Returns:
        Key → kind, the worst first.
    """
    quality = _quality(frames)
    known = np.flatnonzero(~np.isnan(quality))
    if len(known) < 3 * each:
        count = min(3 * each, len(frames))
        indices = np.linspace(0, len(frames) - 1, count).round().astype(int).tolist()
        return {frames[i].key: SAMPLE for i in indices}
    order = known[np.argsort(quality[known], kind='stable')]
    middle = order[np.argsort(np.abs(np.arange(len(order)) - len(order) // 2), kind='stable')]
    chosen: dict[int, str] = {}
    for kind, candidates in ((WORST, order), (TYPICAL, middle), (BEST, order[::-1])):
        taken = 0
        for index in candidates.tolist():
            if taken < each and all(abs(index - other) >= apart for other in chosen):
                chosen[index] = kind
                taken += 1
    return {frames[index].key: kind for index, kind in chosen.items()}


def show(kind: str, record: FrameRecord, sample: Sample, result: Result) -> Shown:
    """Make the picture of one frame."""
    return as_shown(kind, record.key, describe(record), montage(sample, result))


def as_shown(kind: str, key: str, figures: str, picture: Picture) -> Shown:
    """A picture as it goes into the page."""
    done, jpeg = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return Shown(
        kind=kind,
        key=key,
        figures=figures,
        jpeg=base64.b64encode(jpeg.tobytes()).decode('ascii') if done else '',
        size=(picture.shape[0], picture.shape[1]),
    )


def describe(record: FrameRecord) -> str:
    """What was measured on a frame, in one line."""
    parts = [f'{title} {value:.2f}' for title, value in _figures(record).items()]
    if record.path not in ('', FULL_PATH):
        parts.append(f'path {record.path}')
    if 'total' in record.latency_ms:
        parts.append(f'{record.latency_ms["total"]:.0f} ms')
    parts += [f'{task} failed: {reason}' for task, reason in record.failures.items()]
    return ' · '.join(parts)


def montage(sample: Sample, result: Result) -> Picture:
    """What is true in the upper row, what was found in the lower one; a column for each task."""
    image = sample.frame.image
    tasks = result.execution.tasks
    found = result_row(result, image)
    if sample.truth is None or not tasks:
        return found
    clean, known = _small(image), _truth(sample.truth, image)
    return np.vstack([np.hstack([_panel(clean, image, known.get(task)) for task in tasks]), found])


def result_row(result: Result, image: Picture) -> Picture:
    """What was found in an image, a column for each task; the image itself without tasks."""
    clean = _small(image)
    given = {
        DETECTION: result.detections and _sure(result.detections),
        SEGMENTATION: result.segmentation,
        DEPTH: result.depth,
    }
    panels = [_panel(clean, image, given[task]) for task in result.execution.tasks]
    return np.hstack(panels or [clean])


def _small(image: Picture) -> Picture:
    scale = min(1.0, _PANEL_SIZE[0] / image.shape[0], _PANEL_SIZE[1] / image.shape[1])
    size = tuple(max(2, round(side * scale)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _panel(
    clean: Picture, image: Picture, made: Detections | Segmentation | DepthMap | None
) -> Picture:
    if isinstance(made, Detections):
        return draw_detections(clean.copy(), made, clean.shape[1] / image.shape[1])
    if isinstance(made, Segmentation):
        return draw_segmentation(clean.copy(), made)
    if isinstance(made, DepthMap):
        return depth_picture(made, (clean.shape[0], clean.shape[1]))
    return clean.copy()


def _sure(found: Detections) -> Detections:
    """Without the many faint detections that average precision asks for."""
    keep = found.scores >= SURE
    return replace(
        found,
        boxes=found.boxes[keep],
        scores=found.scores[keep],
        class_ids=found.class_ids[keep],
    )


def _truth(
    truth: GroundTruth, image: Picture
) -> Mapping[str, Detections | Segmentation | DepthMap]:
    """What is known, as if a model had found it."""
    known: dict[str, Detections | Segmentation | DepthMap] = {}
    if truth.objects is not None:
        known[DETECTION] = _as_detections(truth.objects)
    if truth.segmentation is not None:
        known[SEGMENTATION] = Segmentation(truth.segmentation, truth.segmentation_labels)
    if truth.depth is not None:
        known[DEPTH] = DepthMap(truth.depth, typical(*image.shape[:2]))
    return known


def _as_detections(objects: TrueObjects) -> Detections:
    keep = objects.class_ids >= 0
    count = int(keep.sum())
    return Detections(
        objects.boxes[keep], np.ones(count, np.float32), objects.class_ids[keep], objects.labels
    )


def _figures(record: FrameRecord) -> dict[str, float]:
    found: dict[str, float] = {}
    for metric, path, title in _FIGURES:
        value: object = record.metrics.get(metric)
        for key in path:
            value = value.get(key) if isinstance(value, Mapping) else None
        # A fit to the truth is of interest only where there is no depth as it is.
        if isinstance(value, (int, float)) and not (title == 'δ1 fitted' and 'δ1' in found):
            found[title] = float(value)
    return found


def _quality(frames: Sequence[FrameRecord]) -> NDArray[np.float64]:
    """Mean over the figures of each frame's rank in [0, 1]; NaN where it has none."""
    figures = [_figures(frame) for frame in frames]
    ranks = np.full((len(_FIGURES), len(frames)), np.nan)
    for row, (_, _, title) in enumerate(_FIGURES):
        values = np.array([each.get(title, np.nan) for each in figures])
        known = np.flatnonzero(~np.isnan(values))
        if known.size:
            # Equal values share a rank, or the order of the files would decide.
            levels, level = np.unique(values[known], return_inverse=True)
            ranks[row, known] = level / max(len(levels) - 1, 1)
    count = (~np.isnan(ranks)).sum(axis=0)
    return np.where(count > 0, np.nansum(ranks, axis=0) / np.maximum(count, 1), np.nan)
