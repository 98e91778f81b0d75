# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pseudo ground truth: the results of a reference model in place of annotations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from mt_perception.errors import PerceptionError
from mt_perception.evaluation.datasets.sample_source import SampleSource
from mt_perception.evaluation.datasets.taxonomy import ClassMap
from mt_perception.evaluation.datasets.truth import GroundTruth, Sample, TrueObjects
from mt_perception.evaluation.predictor import Predictor
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION, UNLABELLED, Detections, Result

SURE = 0.5
"""Detections of the reference below this score are no objects."""

_KINDS = {DETECTION: 'boxes', SEGMENTATION: 'labels', DEPTH: 'depth'}


class ReferenceSource(SampleSource):
    """The samples of another source with a reference model's results as ground truth.

    Args:
        samples: The open source; its own ground truth is ignored.
        reference: The reference model, with a score threshold of ``SURE``.
        classes: The labels of the model that is evaluated.
    """

    def __init__(self, samples: SampleSource, reference: Predictor, classes: ClassMap) -> None:
        kinds = tuple(sorted(_KINDS[task] for task in reference.labels))
        super().__init__(samples.name, samples.kind, kinds, samples.length)
        self._samples = samples
        self._reference = reference
        self._classes = classes
        self.rejects = samples.rejects

    def __iter__(self) -> Iterator[Sample]:
        for sample in self._samples:
            try:
                found = self._reference.run(sample.frame)
                truth = pseudo_truth(found, self._classes, self._reference.name)
            except PerceptionError:
                truth = None
            yield replace(sample, truth=truth)

    def close(self) -> None:
        """Close the source."""
        self._samples.close()


def pseudo_truth(result: Result, classes: ClassMap, name: str) -> GroundTruth:
    """A result as ground truth.

    Args:
        result: The reference's result.
        classes: The labels of the model that is evaluated.
        name: Name of the reference.
    """
    segmentation = None
    if result.segmentation is not None and classes.segmentation:
        names = dict(enumerate(result.segmentation.labels))
        table = classes.segmentation_table(names)
        table[UNLABELLED] = UNLABELLED
        segmentation = table[result.segmentation.class_ids]
    objects = None
    if result.detections is not None and classes.detection:
        objects = _objects(result.detections, classes)
    return GroundTruth(
        objects=objects,
        segmentation=segmentation,
        segmentation_labels=classes.segmentation,
        depth=None if result.depth is None else result.depth.depth,
        pseudo=name,
    )


def _objects(found: Detections, classes: ClassMap) -> TrueObjects:
    sure = np.flatnonzero(found.scores >= SURE)
    boxes = found.boxes[sure]
    ids = [classes.detection_id(found.labels[i]) for i in found.class_ids[sure]]
    return TrueObjects(
        boxes=boxes,
        class_ids=np.array(ids, np.int64),
        crowd=np.zeros(len(sure), np.bool_),
        areas=(boxes[:, 2:] - boxes[:, :2]).astype(np.float64).prod(axis=1),
        exhaustive=classes.exhaustive(found.labels),
        labels=classes.detection,
    )
