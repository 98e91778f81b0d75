# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sources of samples: frames with their ground truth."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from mt_perception.errors import BagError, SourceError
from mt_perception.evaluation.datasets.annotations import Skipped
from mt_perception.evaluation.datasets.truth import GroundTruth, Sample
from mt_perception.evaluation.datasets.truth_files import TruthFiles
from mt_perception.evaluation.datasets.truth_topics import TopicTruth
from mt_perception.sources import Source
from mt_perception.sources.frame_source import calibrated
from mt_perception.types import Frame, Intrinsics

Camera: TypeAlias = Intrinsics | float
"""A calibration, or the focal length in pixels of a pinhole camera with a centred image."""


class SampleSource(ABC):
    """Samples in the same order in every run; iterate once, inside ``with``.

    Attributes:
        name: Usable as the name of a folder.
        kind: ``bag``, ``folder`` or ``video``.
        truth_kinds: The kinds of ground truth: of ``boxes``, ``labels`` and ``depth``.
        length: Expected number of samples; None if unknown.
        rejects: Reason → number of images or ground truths that were skipped.
        notes: Sentences for the user on ground truth that was found and not used.
    """

    def __init__(
        self, name: str, kind: str, truth_kinds: tuple[str, ...], length: int | None
    ) -> None:
        self.name = safe_name(name)
        self.kind = kind
        self.truth_kinds = truth_kinds
        self.length = length
        self.rejects: Counter[str] = Counter()
        self.notes: list[str] = []
        self._rejected = Skipped()

    def reject(self, reason: str, entry: str, error: Exception) -> None:
        """Count an image that is skipped, or whose ground truth is, with its name."""
        self.rejects[reason] += 1
        self._rejected.add(reason, f'{entry} ({error})')

    def all_notes(self) -> tuple[str, ...]:
        """``notes``, and a sentence for each reason of skipped images."""
        return (*self.notes, *(f'{self.name}: {text}' for text in self._rejected.sentences()))

    @abstractmethod
    def __iter__(self) -> Iterator[Sample]:
        """Yield the samples.

        Raises:
            SourceError: The source as a whole became unreadable.
        """

    @abstractmethod
    def close(self) -> None:
        """Close files; may be called twice."""

    def __enter__(self) -> SampleSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FrameSamples(SampleSource):
    """A bag, a video or a single image; ground truth in files takes precedence over topics.

    Args:
        name: Name of the source.
        kind: ``bag`` or ``video``.
        frames: Source of the images.
        files: Ground truth from files, named by the image's stamp in nanoseconds.
        camera: Replaces the camera of the source, if given.
        topics: Ground truth from topics of a bag.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        frames: Source,
        files: TruthFiles | None,
        camera: Camera | None,
        topics: TopicTruth | None = None,
    ) -> None:
        kinds = {*(files.kinds if files else ()), *(topics.topics if topics else ())}
        super().__init__(name, kind, tuple(sorted(kinds)), frames.length)
        self._frames = frames
        self._files = files
        self._camera = camera
        self._topics = topics
        self.rejects = frames.rejects
        self.notes = frames.notes
        self.notes += () if files is None else files.notes

    def __iter__(self) -> Iterator[Sample]:
        used: Counter[str] = Counter()
        stamps: list[int] = []
        for number, frame in enumerate(self._frames, 1):
            stamps = [min([*stamps[:1], frame.stamp_ns]), max([*stamps[1:], frame.stamp_ns])]
            key = unique(str(frame.stamp_ns), used)
            truth = self._truth(frame, key, number)
            yield Sample(with_camera(frame, self._camera), truth, key, self.name)
        if self._files is not None:
            self.notes += self._files.unmatched(list(used))
        elif self._topics is not None and stamps:
            self._topics.check_overlap(*stamps)

    def close(self) -> None:
        """Close the images and the topics."""
        self._frames.close()
        if self._topics is not None:
            self._topics.close()

    def _truth(self, frame: Frame, key: str, number: int) -> GroundTruth | None:
        size = frame.image.shape[0], frame.image.shape[1]
        try:
            found = None if self._files is None else self._files.find(key, size, number)
            if found is None and self._topics is not None:
                found = self._topics.find(frame.stamp_ns, size)
        except BagError:
            raise
        except SourceError as error:
            self.reject('bad_truth', key, error)
            return None
        return found


def with_camera(frame: Frame, camera: Camera | None) -> Frame:
    """The frame with the given camera, or as it is without one.

    Raises:
        SourceError: The calibration is for images of another shape.
    """
    if camera is None:
        return frame
    height, width = frame.image.shape[:2]
    if isinstance(camera, Intrinsics):
        return replace(frame, intrinsics=calibrated(camera, height, width))
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    ideal = Intrinsics(camera, camera, centre_x, centre_y, width, height)
    return replace(frame, intrinsics=ideal)


def unique(key: str, used: Counter[str]) -> str:
    """The key, numbered if it was used before (two messages with one stamp)."""
    used[key] += 1
    return key if used[key] == 1 else f'{key}#{used[key]}'


def source_name(source: str) -> str:
    """Name of a source: that of its file or folder."""
    path = Path(os.path.realpath(os.path.expanduser(source)))
    return safe_name(path.name if path.is_dir() else path.stem)


def safe_name(text: str) -> str:
    """A name that is valid as one folder on every system, whatever the text."""
    name = re.sub(r'[^A-Za-z0-9._-]+', '_', text).strip('._')
    return name[:80] or 'source'
