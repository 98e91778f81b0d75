# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Estimates the probability of a condition on a recording, for the order of tasks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from mt_perception.errors import ImageError, SourceError
from mt_perception.evaluation.records import FRAMES_FILE, read_frames
from mt_perception.pipeline import Pipeline
from mt_perception.planning.conditions import TaskCondition
from mt_perception.types import DETECTION, Detections, Frame

_Z = 1.959964  # 95 % of a normal distribution lie within this number of deviations


@dataclass(frozen=True)
class ConditionRate:
    """Number of frames in which a condition held.

    Attributes:
        rule: The condition with its estimated probability.
        held: Number of frames on which it held.
        frames: Number of frames with a result of the deciding task.
    """

    rule: TaskCondition
    held: int
    frames: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the probability for independent frames.

        Neighbouring frames of a video are alike, so its true interval is wider.
        """
        share, n = self.held / self.frames, self.frames
        centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        spread = math.sqrt(share * (1 - share) / n + (_Z / (2 * n)) ** 2) * _Z / (1 + _Z**2 / n)
        return max(0.0, centre - spread), min(1.0, centre + spread)


def condition_rate(rule: TaskCondition, found: Iterable[frozenset[str]]) -> ConditionRate:
    """Estimate a condition's probability.

    Args:
        rule: The condition.
        found: The labels that its deciding task detects, frame by frame.

    Raises:
        SourceError: There is no frame.
    """
    held = frames = 0
    for labels in found:
        frames += 1
        held += bool(labels & set(rule.labels)) if rule.labels else bool(labels)
    if not frames:
        raise SourceError(
            f'no frame has a result of {rule.on}; run or evaluate it on a recording first'
        )
    return ConditionRate(replace(rule, probability=held / frames), held, frames)


def recorded_labels(folder: Path, score: float) -> Iterator[frozenset[str]]:
    """The detected labels of each frame in a folder of runs and evaluations.

    Args:
        folder: Has files ``frames.jsonl`` of ``run --jsonl`` or ``evaluate``, at any depth.
        score: Score threshold of detections.

    Raises:
        SourceError: There is no such file, or one cannot be read.
    """
    files = sorted(folder.rglob(FRAMES_FILE))
    if not files:
        raise SourceError(
            f'{folder} has no records ({FRAMES_FILE}); expected a folder of run --jsonl or '
            'evaluate, a bag or a video'
        )
    for file in files:
        for record in read_frames(file):
            found = record.detections
            if found is not None:
                kept = zip(found.labels, found.scores, strict=True)
                yield frozenset(label for label, s in kept if s >= score)


def detected_labels(
    pipeline: Pipeline, frames: Iterable[Frame], task: str
) -> Iterator[frozenset[str]]:
    """The labels that a task detects on each frame of a source; other tasks do not run."""
    for frame in frames:
        try:
            result = pipeline.run(frame, (task,))
        except ImageError:
            continue
        found = result.detections if task == DETECTION else result.extra.get(task)
        if isinstance(found, Detections):
            yield frozenset(found.labels[index] for index in found.class_ids)
