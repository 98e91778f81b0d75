# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A label image from the network's class ids: cropped, checked, enlarged without inventing ids."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import TaskError
from mt_perception.image.letterbox import Letterbox
from mt_perception.model.manifest import ConfidenceSpec
from mt_perception.types import UNLABELLED, Segmentation


def segmentation(
    class_ids: NDArray[Any], letterbox: Letterbox, labels: tuple[str, ...]
) -> Segmentation:
    """Make the label image of one frame.

    Args:
        class_ids: uint8 (1, h, w) over the whole network input, at any stride.
        letterbox: How the image lies in the network's input.
        labels: Class names of the model.

    Raises:
        TaskError: The shape is another one, or an id has no label.
    """
    if class_ids.ndim != 3 or class_ids.shape[0] != 1 or not class_ids.size:
        raise TaskError(f'expected class_ids (1, h, w), found {class_ids.shape}')
    if class_ids.dtype.kind not in 'iu':
        raise TaskError(f'expected integer class_ids, found {class_ids.dtype}')
    # Before the cast to 8 bits, which would turn class 256 into class 0.
    known = ((class_ids >= 0) & (class_ids < len(labels))) | (class_ids == UNLABELLED)
    if not known.all():
        raise TaskError(
            f'expected class_ids below {len(labels)}, the number of labels in the manifest, or '
            f'{UNLABELLED}; found {class_ids[~known][0]}'
        )
    ids = class_ids[0].astype(np.uint8, copy=False)
    return Segmentation(letterbox.map_to_image(ids, cv2.INTER_NEAREST), labels)


def confidence(
    logits: NDArray[Any], letterbox: Letterbox, spec: ConfidenceSpec
) -> NDArray[np.uint8]:
    """Make the confidence image of one frame.

    Args:
        logits: float32 (1, C, h, w) over the whole network input, at any stride.
        letterbox: How the image lies in the network's input.
        spec: The calibration.

    Returns:
        uint8 (H, W): 255 times the calibrated probability of the likeliest class.

    Raises:
        TaskError: The shape is another one, or a value is not finite.
    """
    if logits.ndim != 4 or logits.shape[0] != 1 or not logits.size:
        raise TaskError(f'expected logits (1, C, h, w), found {logits.shape}')
    # ONNX Runtime's softmax along the second axis takes six times as long.
    probabilities = 1 / np.exp(logits[0] - logits[0].max(axis=0)).sum(axis=0)
    if not np.isfinite(probabilities).all():
        raise TaskError('the logits of the network are not finite')
    codes = np.rint(probabilities * 255).astype(np.uint8)
    calibrated = cv2.LUT(codes, _calibration(spec.slope, spec.offset))
    return np.asarray(letterbox.map_to_image(calibrated, cv2.INTER_LINEAR), np.uint8)


@lru_cache(maxsize=8)
def _calibration(slope: float, offset: float) -> NDArray[np.uint8]:
    """The calibrated confidence of each of the 256 codes, uint8 (256,)."""
    # 0 and 255 have no log-odds; each stands for half a step.
    share = np.arange(256).clip(0.5, 254.5) / 255
    odds = slope * np.log(share / (1 - share)) + offset
    return np.asarray(np.rint(255 / (1 + np.exp(-odds))), np.uint8)
