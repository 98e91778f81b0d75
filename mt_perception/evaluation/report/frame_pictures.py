# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures of the best, the worst and typical frames beside their ground truth."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import PerceptionError
from mt_perception.evaluation.datasets.truth import GroundTruth, Sample, TrueObjects
from mt_perception.evaluation.frame_record import digest
from mt_perception.evaluation.job import Job, revisit
from mt_perception.evaluation.records import FrameRecord, value_at
from mt_perception.evaluation.report.metric_columns import SURE
from mt_perception.evaluation.runs import Run
from mt_perception.geometry.camera import typical
from mt_perception.image.overlay import (
    Picture,
    depth_picture,
    depth_scale_end,
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

_PANEL_SIZE = (320, 426)
_QUALITY = 80
_APART = 20
_FIGURES = (
    ((DETECTION, 'ap'), 'AP'),
    ((SEGMENTATION, 'miou'), 'mIoU'),
    ((DEPTH, 'metric', 'delta1'), 'δ1'),
    ((DEPTH, 'affine', 'delta1'), 'δ1 fitted'),
)


@dataclass(frozen=True)
class Shown:
    """One frame of the report.

    Attributes:
        kind: ``best``, ``typical``, ``worst`` or ``sample``.
        key: The frame's key.
        figures: Its metrics, as text.
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
    """Pictures of frames of one run.

    Attributes:
        frames: Results below the ground truth.
        warning: A warning about them, or empty.
        compressed: Frames at few bytes, see ``compressed_frames``.
    """

    frames: tuple[Shown, ...] = ()
    warning: str = ''
    compressed: tuple[Shown, ...] = ()

    def joined(self, others: Pictures) -> Pictures:
        """These and others, with the warnings of both."""
        return Pictures(
            (*self.frames, *others.frames),
            self.warning or others.warning,
            (*self.compressed, *others.compressed),
        )


def draw(job: Job, run: Run, each: int) -> Pictures:
    """Run the best, typical and worst frames again, and draw them.

    Args:
        job: The job.
        run: Its records.
        each: Number of frames of each kind.
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
                    'The pictures differ from the evaluated results: the model or the data has '
                    'changed. Evaluate again with --fresh.'
                )
    except PerceptionError as error:
        warning = f'There are no pictures: source or model cannot be read again: {error}'
    return Pictures(tuple(made[key] for key in kinds if key in made), warning)


def _same(record: FrameRecord, result: Result) -> bool:
    """Whether a frame has the same maps and boxes as in its record."""
    now = {
        'depth': None if result.depth is None else digest(result.depth.depth),
        'segmentation': result.segmentation and digest(result.segmentation.class_ids),
    }
    found = result.detections
    before = record.detections
    boxes = found is None or before is None or np.array_equal(found.boxes, before.boxes)
    return boxes and all(record.digests.get(name) == value for name, value in now.items())


def choose(frames: Sequence[FrameRecord], each: int, apart: int = 1) -> dict[str, str]:
    """The keys of the frames to show, with their kind.

    Frames are ranked by the mean of their ranks in all metrics that they have. Without ground
    truth, frames are evenly spaced.

    Args:
        frames: All frames.
        each: Number of frames of each kind.
        apart: Smallest distance between two frames, because neighbours in a recording are
            alike.

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
    """The picture of one frame."""
    return as_shown(kind, record.key, describe(record), montage(sample, result))


def as_shown(kind: str, key: str, figures: str, picture: Picture) -> Shown:
    """A picture as JPEG for the page."""
    done, jpeg = cv2.imencode('.jpg', picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return Shown(
        kind=kind,
        key=key,
        figures=figures,
        jpeg=base64.b64encode(jpeg.tobytes()).decode('ascii') if done else '',
        size=(picture.shape[0], picture.shape[1]),
    )


def describe(record: FrameRecord) -> str:
    """The metrics of a frame, in one line."""
    parts = [f'{title} {value:.2f}' for title, value in _figures(record).items()]
    if record.path not in ('', FULL_PATH):
        parts.append(f'path {record.path}')
    if 'total' in record.latency_ms:
        parts.append(f'{record.latency_ms["total"]:.0f} ms')
    parts += [f'{task} failed: {reason}' for task, reason in record.failures.items()]
    return ' · '.join(parts)


def montage(sample: Sample, result: Result) -> Picture:
    """Ground truth in the upper row, the result in the lower one; a column for each task.

    Both depth maps have one colour scale, which ends beyond the true depth.
    """
    image = sample.frame.image
    tasks = result.execution.tasks
    if sample.truth is None or not tasks:
        return result_row(result, image)
    clean, known = _small(image), _truth(sample.truth, image)
    depth = known.get(DEPTH)
    scale_end = None
    if isinstance(depth, DepthMap) and not (result.depth and result.depth.relative):
        scale_end = depth_scale_end(depth.depth)
    truth = [_panel(clean, image, known.get(task), scale_end, with_scores=False) for task in tasks]
    return np.vstack([np.hstack(truth), result_row(result, image, scale_end)])


def result_row(result: Result, image: Picture, scale_end: float | None = None) -> Picture:
    """The result on an image, a column for each task; the image itself without tasks."""
    clean = _small(image)
    given = {
        # Without the many detections of low score that average precision needs.
        DETECTION: result.detections and result.detections.filter(min_score=SURE),
        SEGMENTATION: result.segmentation,
        DEPTH: result.depth,
    }
    panels = [_panel(clean, image, given[task], scale_end) for task in result.execution.tasks]
    return np.hstack(panels or [clean])


def _small(image: Picture) -> Picture:
    scale = min(1.0, _PANEL_SIZE[0] / image.shape[0], _PANEL_SIZE[1] / image.shape[1])
    size = tuple(max(2, round(side * scale)) for side in image.shape[:2])
    return np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def _panel(
    clean: Picture,
    image: Picture,
    made: Detections | Segmentation | DepthMap | None,
    scale_end: float | None = None,
    with_scores: bool = True,
) -> Picture:
    if isinstance(made, Detections):
        scale = clean.shape[1] / image.shape[1]
        return draw_detections(clean.copy(), made, scale, with_scores)
    if isinstance(made, Segmentation):
        return draw_segmentation(clean.copy(), made)
    if isinstance(made, DepthMap):
        return depth_picture(made, (clean.shape[0], clean.shape[1]), scale_end)
    return clean.copy()


def _truth(
    truth: GroundTruth, image: Picture
) -> Mapping[str, Detections | Segmentation | DepthMap]:
    """The ground truth as the types of results."""
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
    for path, title in _FIGURES:
        value = value_at(record.metrics, path)
        # The fitted depth is shown only without metric depth.
        if value is not None and not (title == 'δ1 fitted' and 'δ1' in found):
            found[title] = value
    return found


def _quality(frames: Sequence[FrameRecord]) -> NDArray[np.float64]:
    """Mean over the metrics of each frame's rank in [0, 1]; NaN without metrics."""
    figures = [_figures(frame) for frame in frames]
    ranks = np.full((len(_FIGURES), len(frames)), np.nan)
    for row, (_, title) in enumerate(_FIGURES):
        values = np.array([each.get(title, np.nan) for each in figures])
        known = np.flatnonzero(~np.isnan(values))
        if known.size:
            # Equal values share a rank, or the order of the files would decide.
            levels, level = np.unique(values[known], return_inverse=True)
            ranks[row, known] = level / max(len(levels) - 1, 1)
    count = (~np.isnan(ranks)).sum(axis=0)
    return np.where(count > 0, np.nansum(ranks, axis=0) / np.maximum(count, 1), np.nan)
