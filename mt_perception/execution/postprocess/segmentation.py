# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A label image from the network's class ids: cropped, checked, enlarged without inventing ids."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import TaskError
from mt_perception.image.letterbox import Letterbox
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
