# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Average precision of detections, by the COCO protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.truth import GroundTruth, Sample, TrueObjects
from mt_perception.evaluation.frame_record import detection_record, truth_record
from mt_perception.evaluation.metrics.average_precision import (
    AT_50,
    calibration_error,
    class_ap,
    gather,
    operating_points,
    reliability,
)
from mt_perception.evaluation.metrics.error_kinds import FrameErrors, error_costs, frame_errors
from mt_perception.evaluation.metrics.matching import (
    AREA_RANGES,
    IOU_THRESHOLDS,
    Matches,
    bit,
    match,
)
from mt_perception.evaluation.records import DetectionRecord, FrameRecord, Json, TruthRecord
from mt_perception.types import DETECTION, Detections, Result

_SIZES = tuple(AREA_RANGES)
_AT_75 = 5
_NOTHING = DetectionRecord(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), ())


class DetectionMetric:
    """Average precision (AP) as COCO defines it; it needs detections of *every* score.

    For one class, one size of objects and one IoU threshold t, the detections of all frames are
    sorted by score. A detection is a true positive if it overlaps an unmatched object of its
    class by at least t. With precision p after k detections and recall r,

        AP_t = mean over r' in {0, 0.01 … 1} of max { p(k) : r(k) ≥ r' }

    ``ap`` is the mean over t in {0.5, 0.55 … 0.95} and over the classes that have objects;
    ``ap50`` and ``ap75`` are those of one threshold; ``ap_small``, ``ap_medium`` and
    ``ap_large`` are those of objects up to 32² pixels, up to 96² pixels, and larger. A value
    without objects is None. (Lin et al., Microsoft COCO, arXiv 1405.0312.)

    ``operating_points`` are precision and recall over all classes at an IoU of 0.5, by score
    threshold; ``reliability`` is the precision by score, and ``ece`` the expected calibration
    error, both of detections with a score of 0.3 or more. ``errors`` are the kinds of errors
    and what each costs (``error_kinds.py``).

    Detections of a class that is not annotated exhaustively in a frame are ignored, because it
    is unknown whether they are wrong.
    """

    name = DETECTION
    headline: Mapping[str, bool] = {'ap': True, 'ap50': True}
    """Name of a headline metric → whether a higher value is better."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._frames = 0
        self._measured = 0
        self._detections = 0
        self._matches: dict[str, list[tuple[int, Matches]]] = {}
        self._errors: list[FrameErrors] = []

    @property
    def frames(self) -> int:
        """Number of frames so far."""
        return self._frames

    @property
    def matches(self) -> Mapping[str, Sequence[tuple[int, Matches]]]:
        """Class → the index of each frame with its detections or objects, and their matches."""
        return self._matches

    def process(self, sample: Sample, result: Result) -> Mapping[str, Json]:
        """Add one frame; a failed detection task has no detections.

        Returns:
            The number of ``objects``, of those ``found`` at an IoU of 0.5 and any score, and
            ``ap`` of this frame alone; empty without annotations.
        """
        objects = None if sample.truth is None else sample.truth.objects
        if objects is None or DETECTION not in result.execution.tasks:
            self._frames += 1
            return {}
        return self.observe(result.detections, objects)

    def observe(self, detections: Detections | None, objects: TrueObjects) -> Mapping[str, Json]:
        """Add one frame's detections and objects; returns the same as ``process``."""
        truth = truth_record(GroundTruth(objects))
        return _of_one_frame(self._observe(detection_record(detections), truth))

    def add(self, record: FrameRecord) -> None:
        """Add a frame from its record."""
        truth = record.truth
        if truth is None or truth.boxes is None or DETECTION not in record.tasks:
            self._frames += 1
            return
        self._observe(record.detections, truth)

    def _observe(self, found: DetectionRecord | None, truth: TruthRecord) -> Mapping[str, Matches]:
        assert truth.boxes is not None
        found = found or _NOTHING
        boxes, scores, true_boxes = found.boxes, found.scores, truth.boxes
        crowd, exhaustive = np.array(truth.crowd, np.bool_), truth.exhaustive
        names, true_names = np.array(found.labels, object), np.array(truth.labels, object)
        frame: dict[str, Matches] = {}
        for name in sorted(set(exhaustive) & {*found.labels, *truth.labels}):
            one, other = names == name, true_names == name
            frame[name] = match(
                boxes[one], scores[one], true_boxes[other], truth.areas[other], crowd[other]
            )
            self._matches.setdefault(name, []).append((self._frames, frame[name]))
            self._detections += len(frame[name].scores)
        one, other = np.isin(names, exhaustive), np.isin(true_names, exhaustive)
        self._errors.append(
            frame_errors(
                boxes[one],
                scores[one],
                names[one],
                true_boxes[other],
                true_names[other],
                crowd[other],
            )
        )
        self._frames += 1
        self._measured += 1
        return frame

    def evaluate(self) -> Mapping[str, Json]:
        """AP over all frames: overall, by IoU threshold, by size and by class."""
        if self._measured == 0:
            return {}
        weights = np.ones((1, self._frames))
        classes = {
            name: gather(self._matches[name], self._frames) for name in sorted(self._matches)
        }
        table = {name: class_ap(each, weights)[..., 0] for name, each in classes.items()}
        every = np.array(list(table.values())).reshape(-1, len(_SIZES), len(IOU_THRESHOLDS))
        objects = {name: int(each.objects[:, 0].sum()) for name, each in classes.items()}
        bins = reliability(list(classes.values()))
        return {
            'ap': _mean(every[:, 0]),
            'ap50': _mean(every[:, 0, AT_50]),
            'ap75': _mean(every[:, 0, _AT_75]),
            **{f'ap_{size}': _mean(every[:, i]) for i, size in enumerate(_SIZES) if i},
            'frames': self._measured,
            'objects': sum(objects.values()),
            'detections': self._detections,
            'ece': calibration_error(bins),
            'reliability': bins,
            'errors': error_costs(self._errors),
            'operating_points': operating_points(list(classes.values())),
            'classes': {
                name: {
                    'ap': _mean(table[name][0]),
                    'ap50': _mean(table[name][0, AT_50]),
                    'objects': objects[name],
                }
                for name in table
                if objects[name]
            },
        }

    def resample(self, weights: NDArray[np.floating]) -> Mapping[str, NDArray[np.float64]]:
        """The headline metrics of resampled frames; see ``comparison.Resampled``."""
        classes = [gather(self._matches[name], self._frames) for name in sorted(self._matches)]
        tables = [class_ap(each, weights, sizes=1)[0] for each in classes]
        every = np.array(tables).reshape(-1, len(IOU_THRESHOLDS), len(weights))
        return {'ap': _nanmean(every.mean(axis=1)), 'ap50': _nanmean(every[:, AT_50])}


def _of_one_frame(frame: Mapping[str, Matches]) -> Mapping[str, Json]:
    """The metrics of one frame, to rank frames by."""
    weights = np.ones((1, 1))
    scores = [
        class_ap(gather([(0, m)], frames=1), weights, sizes=1)
        for m in frame.values()
        if m.objects[0]
    ]
    return {
        'objects': sum(int(m.objects[0]) for m in frame.values()),
        'found': sum(int(bit(m.found, 0, AT_50).sum()) for m in frame.values()),
        'ap': _mean(np.array(scores)),
    }


def _mean(values: NDArray[np.float64]) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else None


def _nanmean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the defined classes, (K, B) → (B,)."""
    count = (~np.isnan(values)).sum(axis=0)
    mean: NDArray[np.float64] = np.full(values.shape[1], np.nan)
    np.divide(np.nansum(values, axis=0), count, out=mean, where=count > 0)
    return mean
