# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Restricts records and metrics to the classes that models of different classes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mt_perception.evaluation.metrics.segmentation import restrict, summarise
from mt_perception.evaluation.records import FrameRecord, Json, Summary
from mt_perception.types import DETECTION, SEGMENTATION

Shared = Mapping[str, frozenset[str]]
"""Task → the classes that all models have, for tasks in which their classes differ."""


def shared_labels(summaries: Sequence[Summary]) -> dict[str, frozenset[str]]:
    """The classes that all runs of a task have, for each task in which they differ."""
    shared = {}
    for task in (DETECTION, SEGMENTATION):
        sides = [summary.model.get('labels', {}).get(task) for summary in summaries]
        named = [frozenset(side) for side in sides if side]
        if any(side != named[0] for side in named):
            shared[task] = frozenset.intersection(*named)
    return shared


def restrict_record(record: FrameRecord, shared: Shared) -> FrameRecord:
    """A record limited to the shared classes."""
    if DETECTION in shared and record.truth is not None:
        exhaustive = tuple(n for n in record.truth.exhaustive if n in shared[DETECTION])
        record = replace(record, truth=replace(record.truth, exhaustive=exhaustive))
    values = record.metrics.get(SEGMENTATION)
    if SEGMENTATION in shared and values is not None:
        kept = restrict(values['confusion'], sorted(shared[SEGMENTATION]))
        record = replace(record, metrics={**record.metrics, SEGMENTATION: {'confusion': kept}})
    return record


def restrict_metrics(summary: Summary, shared: Shared) -> dict[str, dict[str, Json]]:
    """A run's AP, AP50, mIoU and pixel accuracy on the shared classes."""
    metrics: dict[str, dict[str, Json]] = {k: dict(v) for k, v in summary.metrics.items()}
    if DETECTION in shared and metrics.get(DETECTION):
        classes = metrics[DETECTION]['classes']
        for name in ('ap', 'ap50'):
            values = [each[name] for label, each in classes.items() if label in shared[DETECTION]]
            known = [value for value in values if value is not None]
            metrics[DETECTION][name] = sum(known) / len(known) if known else None
    if SEGMENTATION in shared and metrics.get(SEGMENTATION):
        kept = restrict(metrics[SEGMENTATION]['confusion'], sorted(shared[SEGMENTATION]))
        metrics[SEGMENTATION].update(summarise(kept))
    return metrics
