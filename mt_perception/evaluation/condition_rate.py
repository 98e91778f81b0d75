# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""How often a condition holds on a recording: the probability that the order of tasks asks for."""

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

_Z = 1.959964  # of the normal distribution: 95 % lie within so many deviations


@dataclass(frozen=True)
class Rate:
    """How often a condition held.

    Attributes:
        rule: The condition, with the probability that was found.
        held: Frames on which it held.
        frames: Frames on which the deciding task gave a result.
    """

    rule: TaskCondition
    held: int
    frames: int

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the probability, as if frames were drawn independently.

        Those of a video are not: neighbours are alike, so that the truth is wider.
        """
        share, n = self.held / self.frames, self.frames
        centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        spread = math.sqrt(share * (1 - share) / n + (_Z / (2 * n)) ** 2) * _Z / (1 + _Z**2 / n)
        return max(0.0, centre - spread), min(1.0, centre + spread)


def condition_rate(rule: TaskCondition, found: Iterable[frozenset[str]]) -> Rate:
    """Learn a condition's probability.

    Args:
        rule: The condition.
        found: The labels that its deciding task found, frame by frame.

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
    return Rate(replace(rule, probability=held / frames), held, frames)


def recorded_labels(folder: Path, score: float) -> Iterator[frozenset[str]]:
    """What was found on each frame of the runs and evaluations in a folder and below.

    Args:
        folder: Holds files ``frames.jsonl``, as ``run --jsonl`` and ``evaluate`` write them.
        score: Least score of a detection that counts.

    Raises:
        SourceError: There is no such file, or one cannot be read.
    """
    files = sorted(folder.rglob(FRAMES_FILE))
    if not files:
        raise SourceError(
            f'{folder} holds no records ({FRAMES_FILE}); name a folder that run --jsonl or '
            'evaluate has written, or a bag or video'
        )
    for file in files:
        for record in read_frames(file):
            found = record.detections
            if found is not None:
                kept = zip(found.labels, found.scores, strict=True)
                yield frozenset(label for label, s in kept if s >= score)


def seen_labels(
    pipeline: Pipeline, frames: Iterable[Frame], task: str
) -> Iterator[frozenset[str]]:
    """What a task finds on each frame of a source; the other tasks do not run."""
    for frame in frames:
        try:
            result = pipeline.run(frame, (task,))
        except ImageError:
            continue
        found = result.detections if task == DETECTION else result.extra.get(task)
        if isinstance(found, Detections):
            yield frozenset(found.labels[index] for index in found.class_ids)
