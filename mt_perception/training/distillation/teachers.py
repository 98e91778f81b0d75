# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pseudo labels of other networks, computed once and cached as PNG files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from mt_perception.errors import ModelError
from mt_perception.evaluation.datasets.maps import read_label_map
from mt_perception.evaluation.datasets.taxonomy import ClassMap
from mt_perception.training.data.samples import Sample
from mt_perception.types import UNLABELLED

# The classes of Pascal VOC in index order, by their COCO names.
VOC_NAMES = (
    'background', 'airplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair',
    'cow', 'dining table', 'dog', 'horse', 'motorcycle', 'person', 'potted plant', 'sheep',
    'couch', 'train', 'tv',
)  # fmt: skip
_VOC_PERSON = VOC_NAMES.index('person')
# A pseudo label must be constant over this window of the teacher's input: its contours are
# coarse by four pixels, and narrow regions are mostly wrong.
_TRUSTED_WINDOW = 9

Predict = Callable[[NDArray[np.uint8]], NDArray[np.unsignedinteger[Any]]]


def voc_teacher(path: Path) -> Predict:
    """Open a DeepLab v3 TensorFlow Lite file that ends in an argmax over the VOC classes.

    Returns:
        A function from an image (H, W, 3) BGR to class ids (h, w) uint8 of the same extent, 255
        near contours.
    """
    # Optional: there are no wheels for every platform, and only this teacher needs it.
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
    except (OSError, RuntimeError, ValueError) as error:
        raise ModelError(
            f'{path} is missing or no TensorFlow Lite file; set voc_teacher to one'
        ) from error
    given, wanted = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    side = int(given['shape'][1])
    window = np.ones((_TRUSTED_WINDOW, _TRUSTED_WINDOW), np.uint8)

    def predict(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        scale = side / max(image.shape[:2])
        height, width = (max(1, round(n * scale)) for n in image.shape[:2])
        canvas = np.full((side, side, 3), 127, np.uint8)
        canvas[:height, :width] = cv2.resize(image[..., ::-1], (width, height))
        interpreter.set_tensor(given['index'], canvas[None])
        interpreter.invoke()
        answer = np.asarray(interpreter.get_tensor(wanted['index']))
        ids: NDArray[np.uint8] = answer[0, :height, :width].astype(np.uint8)
        ids[cv2.dilate(ids, window) != cv2.erode(ids, window)] = UNLABELLED
        return ids

    return predict


def relative_depth_teacher(path: Path) -> Predict:
    """Open a relative inverse depth network, ONNX, RGB 0 to 255 at a fixed size.

    Returns:
        A function from an image (H, W, 3) BGR to inverse depth (h, w) uint16 of the same
        extent, stretched over the whole range; scale and shift are arbitrary.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options)
    except Exception as error:
        # ONNX Runtime's exceptions have no common base class.
        raise ModelError(
            f'{path} is missing or no ONNX file; set relative_depth_teacher to one'
        ) from error
    given = session.get_inputs()[0]
    height, width = given.shape[2:]

    def predict(image: NDArray[np.uint8]) -> NDArray[np.uint16]:
        small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        tensor = small[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32)
        inverse = session.run(None, {given.name: np.ascontiguousarray(tensor)})[0][0, 0]
        low, high = float(inverse.min()), float(inverse.max())
        stretched = np.asarray((inverse - low) / max(high - low, 1e-9) * 65535.0)
        return stretched.astype(np.uint16)

    return predict


def cache_predictions(samples: Iterable[Sample], predict: Predict, cache: Path) -> Iterable[str]:
    """Predict for every sample that is not cached; yield each name afterwards."""
    cache.mkdir(parents=True, exist_ok=True)
    for sample in samples:
        path = cache / f'{sample.name}.png'
        if not path.exists():
            # Several processes may write the same file.
            unfinished = path.with_suffix(f'.{os.getpid()}.part.png')
            cv2.imwrite(str(unfinished), predict(sample.image()))
            unfinished.rename(path)
        yield sample.name


def with_voc_labels(sample: Sample, cache: Path, classes: ClassMap) -> Sample:
    """Fill what a sample leaves unlabelled with the cached prediction of the VOC teacher."""
    table = classes.segmentation_table(dict(enumerate(VOC_NAMES)))
    # VOC's background is no class of the network.
    table[0] = UNLABELLED
    fill = partial(_fill_unlabelled, sample, cache / f'{sample.name}.png', table)
    return replace(sample, semantic=fill)


def with_relative_depth(sample: Sample, cache: Path) -> Sample:
    """Point a sample at the cached prediction of the relative depth teacher."""
    return replace(sample, relative_depth_path=cache / f'{sample.name}.png')


def _fill_unlabelled(sample: Sample, path: Path, table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = sample.size
    predicted = cv2.resize(
        read_label_map(path).astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
    )
    if sample.boxes is not None:
        # Every set with boxes labels persons, so a person outside all boxes is a mistake.
        inside = np.zeros(predicted.shape, bool)
        for x1, y1, x2, y2 in sample.boxes.corners[sample.boxes.classes == 0].astype(int):
            inside[max(y1, 0) : y2 + 1, max(x1, 0) : x2 + 1] = True
        predicted[(predicted == _VOC_PERSON) & ~inside] = UNLABELLED
    if sample.semantic is None:
        return np.asarray(table[predicted])
    label = sample.semantic()
    if label.shape != sample.size:
        label = np.asarray(
            cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8
        )
    filled = label == UNLABELLED
    label[filled] = table[predicted][filled]
    return label
