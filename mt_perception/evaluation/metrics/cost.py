# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Cost of results: multiply-accumulates, paths, failures and time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.frame_record import frame_record
from mt_perception.evaluation.rate_distortion import PAYLOAD_BYTES
from mt_perception.evaluation.records import FrameRecord, Json
from mt_perception.types import Result

PERCENTILES = (50, 90, 95, 99)


class CostMetric:
    """Multiply-accumulates (MACs), paths, executed blocks and failures.

    ``evaluate`` is the same in every run, so it has no times; see ``latencies``.
    """

    name = 'cost'
    headline: Mapping[str, bool] = {'macs': False, 'latency_ms': False}
    """Name of a headline metric → whether a higher value is better."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all frames."""
        self._macs: list[int] = []
        self._latency_ms: list[float] = []
        self._paths: Counter[str] = Counter()
        self._blocks: Counter[str] = Counter()
        self._failures: Counter[str] = Counter()
        self._payloads: list[float] = []

    def process(self, sample: Sample, result: Result) -> Mapping[str, Json]:
        """Add one frame; returns nothing, because the record has its cost already."""
        self.add(frame_record(sample.frame, result, key='', source=''))
        return {}

    def add(self, record: FrameRecord) -> None:
        """Add a frame from its record."""
        self._macs.append(record.macs)
        self._latency_ms.append(record.latency_ms.get('total', np.nan))
        self._paths[record.path] += 1
        self._blocks.update(record.blocks)
        self._failures.update(record.failures.keys())
        if PAYLOAD_BYTES in record.extra:
            self._payloads.append(float(record.extra[PAYLOAD_BYTES]))

    def evaluate(self) -> Mapping[str, Json]:
        """MACs a frame, and the number of frames by path, executed block and failed task.

        Offloaded frames add ``payload_bytes``, their mean size.
        """
        if not self._macs:
            return {}
        frames = len(self._macs)
        return {
            'frames': frames,
            'macs': float(np.mean(self._macs)),
            'macs_max': max(self._macs),
            'paths': dict(sorted(self._paths.items())),
            'blocks': dict(sorted(self._blocks.items())),
            'failures': dict(sorted(self._failures.items())),
            **({'payload_bytes': float(np.mean(self._payloads))} if self._payloads else {}),
        }

    def resample(self, weights: NDArray[np.floating]) -> Mapping[str, NDArray[np.float64]]:
        """Mean MACs and median latency of resampled frames; see ``comparison.Resampled``."""
        if not self._macs:
            return {}
        figures = {'macs': weights @ np.array(self._macs, np.float64) / weights.sum(axis=1)}
        latency = np.array(self._latency_ms)
        known = np.flatnonzero(np.isfinite(latency))
        if known.size:
            order = known[np.argsort(latency[known], kind='stable')]
            below = np.cumsum(weights[:, order], axis=1)
            middle = np.argmax(below >= below[:, -1:] / 2, axis=1)
            figures['latency_ms'] = latency[order][middle]
        return figures


def latencies(frames: Iterable[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Percentiles of each stage's wall time.

    Args:
        frames: For each frame, stage → milliseconds.

    Returns:
        Stage → ``mean``, ``p50``, ``p90``, ``p95``, ``p99``, ``max`` in milliseconds, over the
        frames that ran the stage, and ``frames``, their number.
    """
    stages: dict[str, list[float]] = {}
    for frame in frames:
        for stage, value in frame.items():
            stages.setdefault(stage, []).append(value)
    return {
        stage: {
            'frames': len(values),
            'mean': float(np.mean(values)),
            **{f'p{p}': float(np.percentile(values, p)) for p in PERCENTILES},
            'max': max(values),
        }
        for stage, values in stages.items()
    }
