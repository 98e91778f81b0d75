# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Where samples come from: anything that gives frames, joined with anything that knows truth."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TypeAlias

from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.annotations import Skipped
from mt_perception.evaluation.datasets.truth import GroundTruth, Sample
from mt_perception.evaluation.datasets.truth_files import TruthFiles
from mt_perception.sources import Source
from mt_perception.sources.source import calibrated
from mt_perception.types import Frame, Intrinsics

Camera: TypeAlias = Intrinsics | float
"""A calibration, or only the focal length in pixels of an otherwise ideal camera."""


class SampleSource(ABC):
    """Samples in an order that is the same in every run; iterate once, inside ``with``.

    Attributes:
        name: Safe as the name of a folder.
        kind: What it is, for the summary: ``bag``, ``folder`` …
        truth_kinds: Of ``boxes``, ``labels`` and ``depth``, what is known about its images.
        length: Number of samples to expect; None where it is unknown.
        rejects: Reason → number of images or truths that were left out.
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
        """Count an image that is left out, or whose truth is, and keep its name for a sentence."""
        self.rejects[reason] += 1
        self._rejected.add(reason, f'{entry} ({error})')

    def all_notes(self) -> tuple[str, ...]:
        """``notes``, and a sentence for each reason why images were left out."""
        return (*self.notes, *(f'{self.name}: {text}' for text in self._rejected.sentences()))

    @abstractmethod
    def __iter__(self) -> Iterator[Sample]:
        """Deliver the samples.

        Raises:
            SourceError: The source as a whole became unreadable.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of files; may be called twice."""

    def __enter__(self) -> SampleSource:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class FrameSamples(SampleSource):
    """A video or a single image, with what files beside it may know.

    Args:
        frames: Where the images come from.
        name: Name of the source.
        files: What files know, by the image's stamp in nanoseconds.
        camera: The camera, if the user gave it.
    """

    def __init__(
        self,
        frames: Source,
        name: str,
        files: TruthFiles | None = None,
        camera: Camera | None = None,
    ) -> None:
        kinds = () if files is None else files.kinds
        super().__init__(name, 'video', kinds, frames.length)
        self._frames = frames
        self._files = files
        self._camera = camera
        self.rejects = frames.rejects
        self.notes += () if files is None else files.notes

    def __iter__(self) -> Iterator[Sample]:
        used: Counter[str] = Counter()
        for frame in self._frames:
            key = unique(str(frame.stamp_ns), used)
            truth = self._truth(frame, key)
            yield Sample(with_camera(frame, self._camera), truth, key, self.name)
        self.notes += () if self._files is None else self._files.unmatched(list(used))

    def _truth(self, frame: Frame, key: str) -> GroundTruth | None:
        if self._files is None:
            return None
        try:
            return self._files.find(key, (frame.image.shape[0], frame.image.shape[1]))
        except SourceError as error:
            self.reject('bad_truth', key, error)
            return None

    def close(self) -> None:
        """Close the source of the images."""
        self._frames.close()


def with_camera(frame: Frame, camera: Camera | None) -> Frame:
    """The frame as the camera saw it that the user gave; its own stays if none is given.

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
    """The key, with a number if it was used before (two messages of one stamp)."""
    used[key] += 1
    return key if used[key] == 1 else f'{key}#{used[key]}'


def source_name(source: str) -> str:
    """What to call a source: the name of its file or folder."""
    path = Path(source).expanduser().resolve()
    return safe_name(path.name if path.is_dir() else path.stem)


def safe_name(text: str) -> str:
    """A name that is one plain folder on every system, whatever the text tries."""
    name = re.sub(r'[^A-Za-z0-9._-]+', '_', text).strip('._')
    return name[:80] or 'source'
