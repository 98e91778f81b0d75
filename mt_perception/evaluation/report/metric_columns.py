# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The metrics of a report: their titles, their place in a summary, their format."""

from __future__ import annotations

from dataclasses import dataclass

from mt_perception.evaluation.records import Summary, value_at
from mt_perception.types import DETECTION, SEGMENTATION

SURE = 0.35
"""Detections from this score on are counted and drawn."""


@dataclass(frozen=True)
class Column:
    """One metric of a run as a column of a table.

    Attributes:
        title: Heading.
        path: Place in a summary: group, then keys.
        higher: Whether a higher value is better.
        digits: Decimals.
        scale: Factor for the shown value.
        explanation: A few words.
    """

    title: str
    path: tuple[str, ...]
    higher: bool
    digits: int = 3
    scale: float = 1.0
    explanation: str = ''

    def of(self, summary: Summary) -> float | None:
        """The metric of a run; None if it was not measured."""
        return value_at({**summary.metrics, 'timing': summary.timing}, self.path)

    @property
    def compared_name(self) -> str:
        """Name in a comparison, as ``detection.ap``."""
        if self.path[0] == 'timing':
            return 'cost.latency_ms'
        return '.'.join(self.path)

    @property
    def arrow(self) -> str:
        """The direction of better values."""
        return arrow(self.higher)

    def text(self, value: float | None) -> str:
        """The value as text."""
        return '-' if value is None else f'{value * self.scale:.{self.digits}f}'


def arrow(higher: bool) -> str:
    """``↑`` if higher values are better, else ``↓``."""
    return '↑' if higher else '↓'


ACCURACY = (
    Column('AP', (DETECTION, 'ap'), True, explanation='mean over overlaps 0.5 … 0.95'),
    Column('AP50', (DETECTION, 'ap50'), True, explanation='at an overlap of 0.5'),
    Column('ECE', (DETECTION, 'ece'), False, explanation='calibration error of scores'),
    Column('HOTA', ('tracking', 'hota'), True, explanation='detection and identity over time'),
    Column('IDF1', ('tracking', 'idf1'), True, explanation='share of right identities'),
    Column('mIoU', (SEGMENTATION, 'miou'), True, explanation='mean over classes'),
    Column('pixels', (SEGMENTATION, 'pixel_accuracy'), True, explanation='share of right pixels'),
    Column('AbsRel', ('depth', 'metric', 'abs_rel'), False, explanation='metric depth'),
    Column('δ1', ('depth', 'metric', 'delta1'), True, explanation='share of pixels within 25 %'),
    Column(
        'AbsRel median', ('depth', 'median', 'abs_rel'), False, explanation='scaled by medians'
    ),
    Column('AbsRel fitted', ('depth', 'affine', 'abs_rel'), False, explanation='scale and shift'),
)

BYTES = Column('kB', ('cost', 'payload_bytes'), False, 1, 1e-3, 'payload of a frame')

COST = (
    Column('MMAC', ('cost', 'macs'), False, 0, 1e-6, 'million multiply-accumulates a frame'),
    Column('ms', ('timing', 'latency_ms', 'total', 'p50'), False, 1, 1, 'median of one frame'),
    Column('ms p95', ('timing', 'latency_ms', 'total', 'p95'), False, 1, 1, '95th percentile'),
    BYTES,
)

STABILITY = (
    Column('classes flipped', ('stability', 'mask_flips'), False, 2, 100, '% of pixels'),
    Column('depth change', ('stability', 'depth_change'), False, 2, 100, '%, median over pixels'),
    Column('depth scale', ('stability', 'depth_scale_change'), False, 2, 100, '% of the whole'),
    Column('boxes kept', ('stability', 'boxes_kept'), True, 1, 100, '% from frame to frame'),
    Column('box overlap', ('stability', 'box_overlap'), True, 3, 1, 'IoU of boxes that were kept'),
    Column(
        'class switches', ('stability', 'box_class_switches'), False, 2, 100, '% of boxes kept'
    ),
    Column(
        'picture', ('stability', 'image_change'), False, 2, 100, '% of grey, change of the image'
    ),
)

HEADLINES = tuple(f for f in ACCURACY if f.title in ('AP', 'mIoU', 'AbsRel', 'AbsRel fitted'))
"""One metric for each task, and a second one for depth without scale."""


FRAME_COLUMNS = tuple(c for c in ACCURACY if c.title in ('AP', 'mIoU', 'AbsRel', 'δ1'))
"""The metrics of single frames."""


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


def title_of(metric: str, name: str) -> str:
    """The heading of a metric of a comparison."""
    kind, _, error = name.partition('.')
    if error in _ERRORS:
        return _ERRORS[error] + _KINDS.get(kind, f' {kind}')
    return _TITLES.get(f'{metric}.{name}', name.replace('_', ' '))
