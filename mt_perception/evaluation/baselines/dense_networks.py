# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Adapters for networks with one value a pixel: DeepLab and TCMonoDepth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import TaskError
from mt_perception.evaluation.baselines.labels import VOC, VOC_SHARED
from mt_perception.geometry.camera import typical
from mt_perception.types import DEPTH, SEGMENTATION, UNLABELLED, DepthMap, Frame, Segmentation


@dataclass(frozen=True)
class DeepLab:
    """DeepLab v3 (arXiv 1706.05587) of Pascal VOC, limited to the classes that our models share.

    Its background and the classes that we do not have come out as unlabelled.
    """

    size: tuple[int, int]

    @property
    def task(self) -> str:
        """Segmentation."""
        return SEGMENTATION

    @property
    def labels(self) -> tuple[str, ...]:
        """The shared classes, by our names."""
        return tuple(VOC_SHARED)

    def prepare(self, frame: Frame) -> NDArray[np.float32]:
        """float32 (1, H, W, 3), RGB in [−1, 1]; the image is stretched."""
        image = cv2.resize(frame.image, self.size[::-1], interpolation=cv2.INTER_LINEAR)
        return (image[None, ..., ::-1].astype(np.float32) - 127.5) / np.float32(127.5)

    def finish(self, outputs: Sequence[NDArray[Any]], frame: Frame) -> Segmentation:
        """Classes of the output's logits, (1, h, w, 21)."""
        logits = outputs[0]
        if logits.ndim != 4 or logits.shape[-1] != len(VOC):
            raise TaskError(f'expected logits (1, h, w, {len(VOC)}), found {logits.shape}')
        table = np.full(len(VOC), UNLABELLED, np.uint8)
        for index, names in enumerate(VOC_SHARED.values()):
            table[[VOC.index(name) for name in names]] = index
        class_ids = table[logits[0].argmax(axis=-1)]
        height, width = frame.image.shape[:2]
        resized = cv2.resize(class_ids, (width, height), interpolation=cv2.INTER_NEAREST)
        return Segmentation(np.asarray(resized, np.uint8), self.labels)


@dataclass(frozen=True)
class TcMonoDepth:
    """TCMonoDepth: the inverse of depth, up to a factor and a shift."""

    size: tuple[int, int]

    @property
    def task(self) -> str:
        """Depth."""
        return DEPTH

    @property
    def labels(self) -> tuple[str, ...]:
        """None."""
        return ()

    def prepare(self, frame: Frame) -> NDArray[np.float32]:
        """float32 (1, 3, H, W), RGB 0–255; the image is stretched."""
        image = cv2.resize(frame.image, self.size[::-1], interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)[None], np.float32)

    def finish(self, outputs: Sequence[NDArray[Any]], frame: Frame) -> DepthMap:
        """Relative depth of the output's inverse depth, (1, 1, h, w)."""
        inverse = outputs[0].reshape(outputs[0].shape[-2:])
        top = float(inverse.max())
        if not np.isfinite(inverse).all() or top <= 0:
            raise TaskError('the network gave no finite, positive inverse depth')
        height, width = frame.image.shape[:2]
        resized = cv2.resize(inverse, (width, height), interpolation=cv2.INTER_LINEAR)
        # Far away, inverse depth runs into zero and below; a thousandth of the nearest is far.
        depth = (1 / np.maximum(resized, 1e-3 * top)).astype(np.float32)
        camera = frame.intrinsics
        return DepthMap(depth, camera or typical(height, width), camera is None, relative=True)
