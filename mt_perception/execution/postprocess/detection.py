# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Detections from candidates: threshold, classes, back to the image, per-class suppression."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import TaskError
from mt_perception.execution.options import Options
from mt_perception.image.letterbox import Letterbox
from mt_perception.types import Detections

MAX_CANDIDATES = 1000
"""Maximum number of candidates for suppression, which is quadratic; the best are kept."""


def detections(
    outputs: Mapping[str, NDArray[Any]],
    letterbox: Letterbox,
    labels: tuple[str, ...],
    options: Options,
) -> Detections:
    """Make detections of one frame's candidates.

    Args:
        outputs: ``boxes`` float (1, N, 4) x0 y0 x1 y1 in network pixels, ``scores`` float
            (1, N), ``class_ids`` integer (1, N).
        letterbox: How the image lies in the network's input.
        labels: Class names of the model.
        options: Threshold, overlap, classes and number of detections.

    Returns:
        The best score first; equal scores keep the network's order.

    Raises:
        TaskError: Shapes do not fit each other, a class has no label, or no number is finite.
    """
    boxes, scores, class_ids = _checked(outputs, len(labels))
    # The threshold first: all further work is on few candidates.
    found = np.flatnonzero((scores >= options.score_threshold) & (scores > 0))
    if options.classes:
        wanted = [index for index, label in enumerate(labels) if label in options.classes]
        found = found[np.isin(class_ids[found], wanted)]
    scores = scores[found]
    order = np.argsort(-scores, kind='stable')
    order = order[np.isfinite(scores[order])][:MAX_CANDIDATES]
    found, scores = found[order], scores[order]
    boxes, class_ids = boxes[found], class_ids[found]
    # Boxes of an untrained network may be as large as they like; clipping bounds them all.
    with np.errstate(invalid='ignore', over='ignore'):
        mapped = letterbox.boxes_to_image(boxes)
        solid = (mapped[:, 2] > mapped[:, 0]) & (mapped[:, 3] > mapped[:, 1])
    kept = np.flatnonzero(solid & np.isfinite(boxes).all(axis=1))
    best = kept[_suppress(mapped[kept], scores[kept], class_ids[kept], options.nms_iou)]
    best = best[: options.max_detections]
    return Detections(
        boxes=mapped[best],
        scores=np.minimum(scores[best], 1).astype(np.float32),
        class_ids=class_ids[best].astype(np.int64),
        labels=labels,
    )


def _checked(
    outputs: Mapping[str, NDArray[Any]], classes: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    boxes, scores, class_ids = (outputs[name] for name in ('boxes', 'scores', 'class_ids'))
    n = scores.shape[-1] if scores.ndim == 2 else -1
    if (boxes.shape, scores.shape, class_ids.shape) != ((1, n, 4), (1, n), (1, n)):
        raise TaskError(
            'expected boxes (1, N, 4), scores (1, N) and class_ids (1, N), found '
            f'{boxes.shape}, {scores.shape} and {class_ids.shape}'
        )
    if n and not np.isfinite(scores).any():
        raise TaskError('the network gave no finite score')
    if class_ids.dtype.kind not in 'iu':
        raise TaskError(f'expected integer class_ids, found {class_ids.dtype}')
    if n and not 0 <= class_ids.min() <= class_ids.max() < classes:
        raise TaskError(
            f'the network gave classes {class_ids.min()} to {class_ids.max()}, '
            f'but the manifest has {classes} labels'
        )
    return boxes[0], scores[0], class_ids[0]


def _suppress(
    boxes: NDArray[np.float32], scores: NDArray[Any], class_ids: NDArray[Any], iou: float
) -> NDArray[np.intp]:
    """Non-maximum suppression inside each class; indices, best score first.

    One call serves all classes: shifted apart, boxes of different classes do not overlap.
    (cv2.dnn.NMSBoxesBatched does just this, but is missing before OpenCV 4.7.)
    """
    if not len(boxes):
        return np.empty(0, np.intp)
    shifted = boxes.astype(np.float64)
    shifted += (class_ids * (shifted.max() + 1))[:, None]
    shifted[:, 2:] -= shifted[:, :2]
    kept = cv2.dnn.NMSBoxes(shifted.tolist(), scores.astype(np.float32).tolist(), 0.0, iou)
    return np.asarray(kept, np.intp).reshape(-1)
