# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A baseline: one or several ONNX networks of other projects that together produce one result."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mt_perception.errors import ModelError
from mt_perception.evaluation.records import Json
from mt_perception.pipeline import Pipeline
from mt_perception.reports import Execution
from mt_perception.types import (
    DEPTH,
    DETECTION,
    SEGMENTATION,
    UNLABELLED,
    Frame,
    Result,
    Segmentation,
    TaskResult,
)


@dataclass(frozen=True, eq=False)
class Net:
    """One imported network.

    Attributes:
        name: Name of its file, without the suffix.
        kind: Name of its preset.
        sha256: Of the file, lower-case hex.
        macs: Multiply-accumulates of one frame; None if they could not be counted.
        task: The task that it serves.
        labels: Its class names; empty for depth.
        pipeline: Runs it.
        groups: For segmentation: label → class names of the network that it gathers, in order;
            other classes become unlabelled. None keeps the network's own classes.
    """

    name: str
    kind: str
    sha256: str
    macs: int | None
    task: str
    labels: tuple[str, ...]
    pipeline: Pipeline
    groups: Mapping[str, tuple[str, ...]] | None = None

    def grouped(self, found: TaskResult | None) -> TaskResult | None:
        """A result with the classes of ``groups``."""
        if self.groups is None or not isinstance(found, Segmentation):
            return found
        table = np.full(UNLABELLED + 1, UNLABELLED, np.uint8)
        for index, names in enumerate(self.groups.values()):
            table[[found.labels.index(name) for name in names]] = index
        return Segmentation(table[found.class_ids], self.labels)


class Baseline:
    """Separate networks that run one after the other on every frame.

    Args:
        nets: The networks; each serves another task.

    Attributes:
        name: The networks' names, joined by ``+``.
        labels: Task → class names, for every task it serves.
        identity: ``name``, ``version``, ``sha256``, ``labels``, and ``baseline``: name, kind and
            MACs of each network.

    Raises:
        ModelError: Two networks serve one task.
    """

    def __init__(self, nets: Sequence[Net]) -> None:
        tasks = [net.task for net in nets]
        if len(set(tasks)) != len(tasks):
            raise ModelError(
                f'{" and ".join(tasks)}: two networks of a baseline serve one task; give each its '
                'own --baseline'
            )
        self._nets = tuple(nets)
        self.name = '+'.join(net.name for net in nets)
        self.labels: Mapping[str, tuple[str, ...]] = {net.task: net.labels for net in nets}
        self.identity: Mapping[str, Json] = {
            'name': self.name,
            'version': '',
            'sha256': '+'.join(net.sha256 for net in nets),
            'labels': self.labels,
            'baseline': [{'name': n.name, 'kind': n.kind, 'macs': n.macs} for n in nets],
        }

    def run(self, frame: Frame, wanted: Iterable[str] | None = None) -> Result:
        """Run one frame, one network after the other.

        Args:
            frame: The frame; its image is not changed.
            wanted: The requested tasks; None means all.

        Returns:
            The results; a network that failed is named in ``failures``. A network whose
            multiply-accumulates are unknown counts as 0.
        """
        tasks = frozenset(self.labels if wanted is None else wanted)
        nets = [net for net in self._nets if net.task in tasks]
        start = time.perf_counter()
        made = {net.task: net.pipeline.run(frame, (net.task,)) for net in nets}
        total = (time.perf_counter() - start) * 1e3
        runs = {net.name: made[net.task].execution for net in nets}
        results: dict[str, Any] = {net.task: net.grouped(_result(made[net.task])) for net in nets}
        stages = {
            stage: sum(run.stage_ms[stage] for run in runs.values())
            for stage in ('preprocess', 'inference', 'postprocess')
        }
        return Result(
            stamp_ns=frame.stamp_ns,
            frame_id=frame.frame_id,
            detections=results.get(DETECTION),
            depth=results.get(DEPTH),
            segmentation=results.get(SEGMENTATION),
            execution=Execution(
                tasks=tuple(net.task for net in nets),
                blocks=tuple(runs),
                path='full',
                reason='a baseline has one path',
                macs=sum(run.macs for run in runs.values()),
                network_size=next((run.network_size for run in runs.values()), (0, 0)),
                stage_ms={**stages, 'total': total},
                block_ms={name: sum(run.block_ms.values()) for name, run in runs.items()},
            ),
            failures={k: reason for each in made.values() for k, reason in each.failures.items()},
        )


def _result(made: Result) -> TaskResult | None:
    """The only result of a network with one task."""
    return made.detections or made.segmentation or made.depth
