# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which figures a report shows, where they stand in a summary, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mt_perception.evaluation.records import Json, Summary
from mt_perception.types import DETECTION, SEGMENTATION

SURE = 0.35
"""Detections from this score on are counted and drawn."""


@dataclass(frozen=True)
class Figure:
    """One figure of a run.

    Attributes:
        title: How it is called in a heading.
        path: Where it stands: the name of the metric, then keys.
        higher: Whether more is better.
        digits: Decimals.
        scale: Factor for showing it.
        explanation: What it is, in a few words.
    """

    title: str
    path: tuple[str, ...]
    higher: bool
    digits: int = 3
    scale: float = 1.0
    explanation: str = ''

    def of(self, summary: Summary) -> float | None:
        """The figure of a run; None where it was not measured."""
        found: Json = {**summary.metrics, 'timing': summary.timing}
        for key in self.path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return None if found is None else float(found)

    def text(self, value: float | None) -> str:
        """The figure as it is shown."""
        return '-' if value is None else f'{value * self.scale:.{self.digits}f}'


ACCURACY = (
    Figure('AP', (DETECTION, 'ap'), True, explanation='mean over overlaps 0.5 … 0.95'),
    Figure('AP50', (DETECTION, 'ap50'), True, explanation='at an overlap of 0.5'),
    Figure('mIoU', (SEGMENTATION, 'miou'), True, explanation='mean over classes'),
    Figure('pixels', (SEGMENTATION, 'pixel_accuracy'), True, explanation='share of right pixels'),
    Figure('AbsRel', ('depth', 'metric', 'abs_rel'), False, explanation='depth as it is, metres'),
    Figure('δ1', ('depth', 'metric', 'delta1'), True, explanation='share of pixels within 25 %'),
    Figure(
        'AbsRel median', ('depth', 'median', 'abs_rel'), False, explanation='scaled by medians'
    ),
    Figure('AbsRel fitted', ('depth', 'affine', 'abs_rel'), False, explanation='scale and shift'),
)

BYTES = Figure('kB', ('cost', 'payload_bytes'), False, 1, 1e-3, 'of a frame on its way')

COST = (
    Figure('MMAC', ('cost', 'macs'), False, 0, 1e-6, 'million multiply-accumulates a frame'),
    Figure('ms', ('timing', 'latency_ms', 'total', 'p50'), False, 1, 1, 'median of one frame'),
    Figure('ms p95', ('timing', 'latency_ms', 'total', 'p95'), False, 1, 1, '95th percentile'),
    BYTES,
)

STABILITY = (
    Figure('classes flipped', ('stability', 'mask_flips'), False, 2, 100, '% of pixels'),
    Figure('depth change', ('stability', 'depth_change'), False, 2, 100, '%, median over pixels'),
    Figure('depth scale', ('stability', 'depth_scale_change'), False, 2, 100, '% of the whole'),
    Figure('boxes kept', ('stability', 'boxes_kept'), True, 1, 100, '% from frame to frame'),
    Figure('box overlap', ('stability', 'box_overlap'), True, 3, 1, 'of boxes that were kept'),
    Figure(
        'class switches', ('stability', 'box_class_switches'), False, 2, 100, '% of boxes kept'
    ),
    Figure('picture', ('stability', 'image_change'), False, 2, 100, '% of grey: moves by itself'),
)

HEADLINES = tuple(f for f in ACCURACY if f.title in ('AP', 'mIoU', 'AbsRel', 'AbsRel fitted'))
"""One figure for each task, and a second for depth without scale."""


_TITLES = {
    'detection.ap': 'AP',
    'detection.ap50': 'AP50',
    'segmentation.miou': 'mIoU',
    'segmentation.pixel_accuracy': 'right pixels',
    'cost.macs': 'multiply-accumulates',
    'cost.latency_ms': 'latency, ms',
    'stability.mask_flips': 'classes flipped',
    'stability.box_class_switches': 'class switches',
}
_KINDS = {'metric': '', 'median': ' median', 'affine': ' fitted'}
_ERRORS = {'abs_rel': 'AbsRel', 'rmse': 'RMSE', 'delta1': 'δ1'}


def title_of(metric: str, figure: str) -> str:
    """How the report calls a figure that a comparison names."""
    kind, _, error = figure.partition('.')
    if error in _ERRORS:
        return _ERRORS[error] + _KINDS.get(kind, f' {kind}')
    return _TITLES.get(f'{metric}.{figure}', figure.replace('_', ' '))
