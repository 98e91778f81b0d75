# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Adapters for three families of detectors: YOLOX, PicoDet and FastestDet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import TaskError
from mt_perception.execution.options import Options
from mt_perception.execution.postprocess.detection import detections
from mt_perception.image.letterbox import Letterbox
from mt_perception.types import DETECTION, Detections, Frame

_MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32) * 255
_BEST = 1000


@dataclass(frozen=True)
class Detector:
    """What the families share: input size, labels, options, and decoding of candidates."""

    size: tuple[int, int]
    labels: tuple[str, ...]
    options: Options

    @property
    def task(self) -> str:
        """Detection."""
        return DETECTION

    def _stretched(self, frame: Frame) -> Letterbox:
        """The image stretched over the whole input."""
        return Letterbox(frame.image.shape[:2], self.size, self.size)

    def _finish(
        self,
        letterbox: Letterbox,
        candidates: tuple[NDArray[Any], NDArray[Any], NDArray[Any]],
        nms_iou: float,
    ) -> Detections:
        """Detections of boxes (N, 4) in network pixels, scores (N,) and class ids (N,)."""
        boxes, scores, class_ids = (each[None] for each in candidates)
        outputs = {'boxes': boxes, 'scores': scores, 'class_ids': class_ids}
        return detections(outputs, letterbox, self.labels, replace(self.options, nms_iou=nms_iou))


class Yolox(Detector):
    """YOLOX (arXiv 2107.08430) as its authors export it: BGR 0–255, boxes still on the grid."""

    strides = (8, 16, 32)

    def prepare(self, frame: Frame) -> NDArray[np.float32]:
        """float32 (1, 3, H, W); the image in the upper left corner, grey 114 around it."""
        image = self._letterbox(frame).network_image(frame.image, 114)
        return np.ascontiguousarray(image.transpose(0, 3, 1, 2), np.float32)

    def finish(self, outputs: Sequence[NDArray[Any]], frame: Frame) -> Detections:
        """Detections of the output (1, N, 5 + C): centre, size, objectness, classes."""
        rows = outputs[0][0]
        cells, strides = _cells(self.size, self.strides)
        if len(rows) != len(cells):
            raise TaskError(f'YOLOX returned {len(rows)} candidates, expected {len(cells)}')
        centre = (rows[:, :2] + cells) * strides[:, None]
        half = np.exp(np.minimum(rows[:, 2:4], 20)) * strides[:, None] / 2
        class_ids = rows[:, 5:].argmax(axis=1)
        scores = rows[:, 4] * np.take_along_axis(rows[:, 5:], class_ids[:, None], 1)[:, 0]
        boxes = np.concatenate([centre - half, centre + half], axis=1)
        return self._finish(self._letterbox(frame), (boxes, scores, class_ids), 0.65)

    def _letterbox(self, frame: Frame) -> Letterbox:
        height, width = frame.image.shape[:2]
        scale = min(self.size[0] / height, self.size[1] / width)
        content = max(1, int(height * scale)), max(1, int(width * scale))
        return Letterbox((height, width), content, self.size)


class PicoDet(Detector):
    """PicoDet (arXiv 2111.00902): sides of boxes as distributions, several classes for one box."""

    strides = (8, 16, 32, 64)

    def prepare(self, frame: Frame) -> NDArray[np.float32]:
        """float32 (1, 3, H, W), RGB, ImageNet mean and deviation; the image is stretched."""
        image = cv2.resize(frame.image, self.size[::-1], interpolation=cv2.INTER_CUBIC)
        image = (image[..., ::-1].astype(np.float32) - _MEAN) / _DEVIATION
        return np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)

    def finish(self, outputs: Sequence[NDArray[Any]], frame: Frame) -> Detections:
        """Detections of scores (1, n, C) and sides (1, n, 4 · bins) at each of four strides."""
        levels = len(self.strides)
        if len(outputs) != 2 * levels:
            raise TaskError(f'PicoDet returned {len(outputs)} outputs, expected {2 * levels}')
        scores = np.concatenate([output[0] for output in outputs[:levels]])
        sides = np.concatenate([output[0] for output in outputs[levels:]])
        cells, strides = _cells(self.size, self.strides)
        if len(scores) != len(cells):
            raise TaskError(f'PicoDet returned {len(scores)} candidates, expected {len(cells)}')
        # The best (cell, class) pairs: a cell may have two classes, as in the authors' code.
        flat = scores.ravel()
        best = np.argpartition(-flat, min(_BEST, flat.size - 1))[:_BEST]
        place, class_ids = np.divmod(best, scores.shape[1])
        sides = sides[place].reshape(len(place), 4, -1)
        chance = np.exp(sides - sides.max(axis=2, keepdims=True))
        chance /= chance.sum(axis=2, keepdims=True)
        distance = (chance @ np.arange(sides.shape[2])) * strides[place, None]
        centre = (cells[place] + 0.5) * strides[place, None]
        boxes = np.concatenate([centre - distance[:, :2], centre + distance[:, 2:]], axis=1)
        return self._finish(self._stretched(frame), (boxes, flat[best], class_ids), 0.6)


class FastestDet(Detector):
    """FastestDet: one grid, one box for each cell."""

    def prepare(self, frame: Frame) -> NDArray[np.float32]:
        """float32 (1, 3, H, W), BGR in [0, 1]; the image is stretched."""
        blob = cv2.dnn.blobFromImage(frame.image, 1 / 255, self.size[::-1])
        return np.asarray(blob, np.float32)

    def finish(self, outputs: Sequence[NDArray[Any]], frame: Frame) -> Detections:
        """Detections of the output (1, 5 + C, h, w): objectness, box, classes."""
        grid = outputs[0][0]
        _, height, width = grid.shape
        rows = grid.reshape(len(grid), -1).T
        row, column = np.divmod(np.arange(height * width), width)
        scale = np.array([self.size[1] / width, self.size[0] / height])
        centre = (np.stack([column, row], 1) + np.tanh(rows[:, 1:3])) * scale
        half = np.array(self.size[::-1]) / (1 + np.exp(-rows[:, 3:5])) / 2
        class_ids = rows[:, 5:].argmax(axis=1)
        scores = rows[:, 0] ** 0.6 * rows[:, 5:].max(axis=1) ** 0.4
        boxes = np.concatenate([centre - half, centre + half], axis=1)
        return self._finish(self._stretched(frame), (boxes, scores, class_ids), 0.45)


def _cells(
    size: tuple[int, int], strides: Sequence[int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Column and row (N, 2) and stride (N,) of every cell of all grids, finest first."""
    cells, all_strides = [], []
    for stride in strides:
        height, width = -(-size[0] // stride), -(-size[1] // stride)
        row, column = np.divmod(np.arange(height * width), width)
        cells.append(np.stack([column, row], axis=1))
        all_strides.append(np.full(height * width, stride))
    return (
        np.concatenate(cells).astype(np.float32),
        np.concatenate(all_strides).astype(np.float32),
    )
