# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How steady each output is from one frame to the next; no ground truth is needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.metrics.matching import box_overlaps
from mt_perception.evaluation.records import FrameRecord, Json
from mt_perception.types import UNLABELLED, DepthMap, Detections, Result, Segmentation

MAX_GAP_S = 0.25
"""Frames farther apart in time are not compared: the scene itself has moved on."""

MAX_IMAGE_CHANGE = 0.12
"""Frames that differ more than this are of two scenes (a cut, a folder of photographs)."""

SCORE = 0.3
"""Only detections of at least this score are followed."""

OVERLAP = 0.5
"""Least intersection over union of a detection with the one it is taken for again."""

_THUMBNAIL = (80, 60)
_FIGURES: Mapping[str, bool] = {
    'mask_flips': False,
    'depth_change': False,
    'depth_scale_change': False,
    'boxes_kept': True,
    'box_overlap': True,
    'box_class_switches': False,
}


@dataclass(frozen=True, eq=False)
class _Seen:
    """What the next frame is compared with."""

    source: str
    thumbnail: NDArray[np.float32]
    size: tuple[int, ...]
    result: Result


class StabilityMetric:
    """Change of the outputs between consecutive frames k−1 and k of one source.

    Only pairs count that are at most 0.25 s apart, of one size, and whose images differ little:
    ``image_change``, the mean absolute difference of grey thumbnails in [0, 1], is at most 0.12.
    It is given too, because outputs should change when the picture does: compare two models on
    the same frames, not one model with zero.

        mask_flips         = share of the pixels with a class in both whose class differs
        depth_change       = median over pixels of |ln d_k − ln d_(k−1)|
        depth_scale_change = |median over pixels of (ln d_k − ln d_(k−1))|: flicker of the whole

    Detections of score ≥ 0.3 are paired greedily, best overlap first, whatever their class, where
    the intersection over union is at least 0.5. With n the detections of both frames together
    and m the pairs,

        boxes_kept         = 2 m / n         box_overlap = mean intersection over union of pairs
        box_class_switches = share of the pairs whose class differs
    """

    name = 'stability'
    headline = _FIGURES
    """Figure that a comparison looks at → whether more of it is better."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._last: _Seen | None = None
        self._frames: list[Mapping[str, Json]] = []

    def process(self, sample: Sample, result: Result) -> Mapping[str, Json]:
        """Add one frame.

        Returns:
            The change since the frame before; empty where that frame does not compare.
        """
        image = sample.frame.image
        grey = cv2.cvtColor(
            cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY
        )
        seen = _Seen(sample.source, np.float32(1 / 255) * grey, image.shape, result)
        figures = {} if self._last is None else _compare(self._last, seen)
        self._last = seen
        self._frames.append(figures)
        return figures

    def add(self, record: FrameRecord) -> None:
        """Add a frame that was measured before."""
        self._frames.append(record.metrics.get(self.name, {}))

    def evaluate(self) -> Mapping[str, Json]:
        """The mean of each figure over the pairs that have it."""
        pairs = [frame for frame in self._frames if frame]
        if not pairs:
            return {}
        figures: dict[str, Json] = {'pairs': len(pairs)}
        for name in ('image_change', *_FIGURES):
            values = [frame[name] for frame in pairs if name in frame]
            if values:
                figures[name] = float(np.mean(values))
        return figures

    def resample(self, weights: NDArray[np.floating]) -> Mapping[str, NDArray[np.float64]]:
        """The headline figures if each frame had been seen a number of times.

        Args:
            weights: (B, F): how often each frame counts, in each of B resamples.

        Returns:
            Figure → (B,), NaN where a resample has nothing to measure.
        """
        result: dict[str, NDArray[np.float64]] = {}
        for name in _FIGURES:
            known = np.array([name in frame for frame in self._frames], np.float64)
            if known.any():
                values = np.array([frame.get(name, 0.0) for frame in self._frames])
                with np.errstate(invalid='ignore', divide='ignore'):
                    result[name] = (weights @ (values * known)) / (weights @ known)
        return result


def _compare(last: _Seen, now: _Seen) -> dict[str, Json]:
    """The figures of one pair of frames; empty where the pair does not count."""
    gap_s = (now.result.stamp_ns - last.result.stamp_ns) * 1e-9
    if now.source != last.source or now.size != last.size or not 0 < gap_s <= MAX_GAP_S:
        return {}
    change = float(np.mean(np.abs(now.thumbnail - last.thumbnail), dtype=np.float64))
    if change > MAX_IMAGE_CHANGE:
        return {}
    figures: dict[str, Json] = {'image_change': change}
    a, b = last.result, now.result
    if a.segmentation is not None and b.segmentation is not None:
        figures.update(_mask_flips(a.segmentation, b.segmentation))
    if a.depth is not None and b.depth is not None:
        figures.update(_depth_change(a.depth, b.depth))
    if a.detections is not None and b.detections is not None:
        figures.update(_box_changes(a.detections, b.detections))
    return figures


def _mask_flips(a: Segmentation, b: Segmentation) -> dict[str, float]:
    both = (a.class_ids != UNLABELLED) & (b.class_ids != UNLABELLED)
    pixels = int(both.sum())
    if not pixels:
        return {}
    return {'mask_flips': int(((a.class_ids != b.class_ids) & both).sum()) / pixels}


def _depth_change(a: DepthMap, b: DepthMap) -> dict[str, float]:
    both = (a.depth > 0) & (b.depth > 0) & np.isfinite(a.depth) & np.isfinite(b.depth)
    if not both.any():
        return {}
    change = np.log(b.depth[both] / a.depth[both])
    return {
        'depth_change': float(np.median(np.abs(change))),
        'depth_scale_change': float(abs(np.median(change))),
    }


def _box_changes(a: Detections, b: Detections) -> dict[str, float]:
    first, second = a.scores >= SCORE, b.scores >= SCORE
    n = int(first.sum() + second.sum())
    if not n:
        return {}
    overlaps = box_overlaps(a.boxes[first], b.boxes[second])
    classes = a.class_ids[first], b.class_ids[second]
    pairs: list[float] = []
    switches = 0
    while overlaps.size and overlaps.max() >= OVERLAP:
        i, j = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
        pairs.append(float(overlaps[i, j]))
        switches += int(classes[0][i] != classes[1][j])
        overlaps[i, :] = overlaps[:, j] = -1
    figures = {'boxes_kept': 2 * len(pairs) / n}
    if pairs:
        figures['box_overlap'] = float(np.mean(pairs))
        figures['box_class_switches'] = switches / len(pairs)
    return figures
