# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth of one image, in the labels of the model that is evaluated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mt_perception.types import Frame

UNKNOWN_CLASS = -1
"""The class id of an annotated object whose class the model lacks."""


@dataclass(frozen=True, eq=False)
class TrueObjects:
    """The annotated objects of one image.

    Attributes:
        boxes: float32 (N, 4): x0, y0, x1, y1 in pixels of the image.
        class_ids: int64 (N,), indices into ``labels``; -1 where the model lacks the class.
        crowd: bool (N,); True for a group annotated as one region (COCO's ``iscrowd``).
        areas: float64 (N,), pixels; of the mask where there is one, else of the box.
        exhaustive: Class ids of which *every* instance in this image is annotated. Detections of
            other classes are ignored, because it is unknown whether they are wrong.
        labels: Class names of the model.
        track_ids: int64 (N,), identity of each object in the recording; None where unknown.
    """

    boxes: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    areas: NDArray[np.float64]
    exhaustive: frozenset[int]
    labels: tuple[str, ...]
    track_ids: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.class_ids)


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The ground truth of one image; None for a task without any.

    Attributes:
        objects: The annotated objects.
        segmentation: uint8 (H, W), indices into ``segmentation_labels``; 255 where unlabelled
            or of a class that the model lacks.
        segmentation_labels: Class names of the model's segmentation.
        depth: float32 (H, W), metres along the optical axis; NaN where unknown.
        pseudo: Name of the reference model that produced it; empty for annotations and sensors.
    """

    objects: TrueObjects | None = None
    segmentation: NDArray[np.uint8] | None = None
    segmentation_labels: tuple[str, ...] = ()
    depth: NDArray[np.float32] | None = None
    pseudo: str = ''


@dataclass(frozen=True, eq=False)
class Sample:
    """One frame of a source with its ground truth.

    Attributes:
        frame: The image.
        truth: Its ground truth, or None.
        key: Unique in its source and the same in every run. Text from a bag or a data set:
            never use it as a path or as HTML without escaping.
        source: Name of the source, usable as the name of a folder.
    """

    frame: Frame
    truth: GroundTruth | None
    key: str
    source: str
