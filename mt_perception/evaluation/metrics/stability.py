# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Temporal stability of each output from frame to frame; it needs no ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.metrics.frame_means import FrameMeans, resampled_means
from mt_perception.evaluation.metrics.matching import box_overlaps
from mt_perception.evaluation.records import Json
from mt_perception.types import UNLABELLED, DepthMap, Detections, Result, Segmentation

MAX_GAP_S = 0.25
"""Frames farther apart in time are not compared, because the scene changes."""

MAX_IMAGE_CHANGE = 0.12
"""Frames with a larger difference are of two scenes (a cut, a folder of photographs)."""

SCORE = 0.3
"""Only detections of at least this score are compared."""

OVERLAP = 0.5
"""Smallest intersection over union of a pair of detections."""

_THUMBNAIL = (80, 60)
_METRICS: Mapping[str, bool] = {
    'mask_flips': False,
    'depth_change': False,
    'depth_scale_change': False,
    'boxes_kept': True,
    'box_overlap': True,
    'box_class_switches': False,
}


@dataclass(frozen=True, eq=False)
class _View:
    """The part of a frame that the next one is compared with."""

    source: str
    thumbnail: NDArray[np.float32]
    size: tuple[int, ...]
    result: Result


class StabilityMetric(FrameMeans):
    """Change of the outputs between consecutive frames k−1 and k of one source.

    A pair of frames is compared if it is at most 0.25 s apart, of one image size, and if
    ``image_change``, the mean absolute difference of grey thumbnails in [0, 1], is at most 0.12.
    ``image_change`` is reported too, because outputs should change with the image: compare two
    models on the same frames, not one model with zero.

        mask_flips         = share of the pixels with a class in both whose class differs
        depth_change       = median over pixels of |ln d_k − ln d_(k−1)|
        depth_scale_change = |median over pixels of (ln d_k − ln d_(k−1))|, global flicker

    Detections of score ≥ 0.3 are paired greedily by intersection over union, whatever their
    class, if it is at least 0.5. With n detections in both frames and m pairs,

        boxes_kept         = 2 m / n         box_overlap = mean intersection over union of pairs
        box_class_switches = share of the pairs whose class differs
    """

    name = 'stability'
    headline = _METRICS
    """Name of a headline metric → whether a higher value is better."""

    def reset(self) -> None:
        """Forget all frames."""
        super().reset()
        self._last: _View | None = None

    def process(self, sample: Sample, result: Result) -> Mapping[str, Json]:
        """Add one frame.

        Returns:
            The change since the frame before; empty if that frame is not comparable.
        """
        image = sample.frame.image
        grey = cv2.cvtColor(
            cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2GRAY
        )
        view = _View(sample.source, np.float32(1 / 255) * grey, image.shape, result)
        values = {} if self._last is None else _compare(self._last, view)
        self._last = view
        self._frames.append(values)
        return values

    def evaluate(self) -> Mapping[str, Json]:
        """The mean of each metric over the pairs that have it."""
        pairs = [frame for frame in self._frames if frame]
        if not pairs:
            return {}
        means: dict[str, Json] = {'pairs': len(pairs)}
        for name in ('image_change', *_METRICS):
            values = [frame[name] for frame in pairs if name in frame]
            if values:
                means[name] = float(np.mean(values))
        return means

    def resample(self, weights: NDArray[np.floating]) -> Mapping[str, NDArray[np.float64]]:
        """The headline metrics of resampled frames; see ``comparison.Resampled``."""
        values = {name: [frame.get(name) for frame in self._frames] for name in _METRICS}
        return resampled_means(values, weights)


def _compare(last: _View, now: _View) -> dict[str, Json]:
    """The metrics of one pair of frames; empty if the pair is not comparable."""
    gap_s = (now.result.stamp_ns - last.result.stamp_ns) * 1e-9
    if now.source != last.source or now.size != last.size or not 0 < gap_s <= MAX_GAP_S:
        return {}
    change = float(np.mean(np.abs(now.thumbnail - last.thumbnail), dtype=np.float64))
    if change > MAX_IMAGE_CHANGE:
        return {}
    values: dict[str, Json] = {'image_change': change}
    a, b = last.result, now.result
    if a.segmentation is not None and b.segmentation is not None:
        values.update(_mask_flips(a.segmentation, b.segmentation))
    if a.depth is not None and b.depth is not None:
        values.update(_depth_change(a.depth, b.depth))
    if a.detections is not None and b.detections is not None:
        values.update(_box_changes(a.detections, b.detections))
    return values


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
    values = {'boxes_kept': 2 * len(pairs) / n}
    if pairs:
        values['box_overlap'] = float(np.mean(pairs))
        values['box_class_switches'] = switches / len(pairs)
    return values
