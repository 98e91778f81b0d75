# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A bag as samples: the images of one camera with ground truth from topics or files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from mt_perception.errors import BagError, SourceError
from mt_perception.evaluation.datasets.sample_source import (
    Camera,
    SampleSource,
    unique,
    with_camera,
)
from mt_perception.evaluation.datasets.truth import GroundTruth, Sample
from mt_perception.evaluation.datasets.truth_files import TruthFiles
from mt_perception.evaluation.datasets.truth_topics import TopicTruth
from mt_perception.sources.bag import Bag
from mt_perception.types import Frame


class BagSamples(SampleSource):
    """The frames of a bag; ground truth in files takes precedence over topics.

    Args:
        name: Name of the source.
        frames: Its images.
        topics: Ground truth from its topics.
        files: Ground truth from files, named by the image's stamp in nanoseconds.
        camera: Replaces the bag's camera_info, if given.
    """

    def __init__(
        self,
        name: str,
        frames: Bag,
        topics: TopicTruth,
        files: TruthFiles | None = None,
        camera: Camera | None = None,
    ) -> None:
        kinds = set(topics.topics) | set(() if files is None else files.kinds)
        super().__init__(name, 'bag', tuple(sorted(kinds)), frames.length)
        self._frames = frames
        self._topics = topics
        self._files = files
        self._camera = camera
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
        if stamps and self._files is None:
            self._topics.check_overlap(*stamps)
        self.notes += () if self._files is None else self._files.unmatched(list(used))

    def close(self) -> None:
        """Close the bag."""
        self._frames.close()
        self._topics.close()

    def _truth(self, frame: Frame, key: str, number: int) -> GroundTruth | None:
        size = frame.image.shape[0], frame.image.shape[1]
        try:
            found = None if self._files is None else self._files.find(key, size, number)
            return found or self._topics.find(frame.stamp_ns, size)
        except SourceError as error:
            if isinstance(error, BagError):
                raise
            self.reject('bad_truth', key, error)
            return None
