# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The remote teacher: a model's remote networks label photographs at full size.

On the undistorted image the two fused detectors and the wide dense head are more accurate than the
robot's network. Their boxes and class probabilities are computed once, and cached.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from mt_perception.errors import ModelError
from mt_perception.evaluation.datasets.taxonomy import ClassMap
from mt_perception.model.folder import read_file, read_manifest
from mt_perception.network.split_graphs import DECODED, OWN, WIDE
from mt_perception.training.data.batches import SampleSet
from mt_perception.training.data.samples import Boxes, Sample
from mt_perception.training.distillation.soft_labels import (
    STRIDE,
    complete_regions,
    forbid_outside,
    network_views,
    normalised,
    within_boxes,
    write_array,
)
from mt_perception.training.recipe import Recipe
from mt_perception.types import DETECTION, SEGMENTATION

_LEAST_SCORE = 0.1
_MOST_BOXES = 60
_DECODER = 'decoder'


class RemoteTeacher:
    """The remote networks of a model with a cut, without encoder and decoder.

    Args:
        model: the model folder.
        labels: detection and segmentation class names of the network to teach.

    Raises:
        ModelError: the folder has no cut, or its classes differ.
    """

    def __init__(self, model: Path, labels: tuple[Sequence[str], Sequence[str]]) -> None:
        manifest = read_manifest(model)
        if manifest.cut is None:
            raise ModelError(
                f'{model} has no section cut; remote_teacher needs its remote networks'
            )
        theirs = [list(manifest.tasks[task].labels) for task in (DETECTION, SEGMENTATION)]
        if theirs != [list(names) for names in labels]:
            raise ModelError(
                f'{model}: its remote networks have other classes than the recipe; '
                'remove remote_teacher'
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        cut = manifest.cut
        self._detection = manifest.tasks[DETECTION].outputs
        wanted = (*self._detection.values(), f'trunk/{OWN}', f'wide/{WIDE}')
        blocks = cut.graph.ancestors(wanted)
        self._blocks = [block for block in blocks if block.name != _DECODER]
        self._sessions = {
            block.name: onnxruntime.InferenceSession(
                read_file(model, cut.files[block.name]), options
            )
            for block in self._blocks
        }

    def predict(self, image: NDArray[np.uint8]) -> tuple[Boxes, Tensor]:
        """Label one image, (H, W, 3) BGR.

        Returns:
            Boxes with scores, in pixels of the image, and class probabilities (h, w, C) float32
            at stride 8 of the network's input, stretched over the image.
        """
        view, height, width = network_views([image])
        tensors = {f'{_DECODER}/{DECODED}': view.contiguous().numpy()}
        for block in self._blocks:
            inputs = {name: tensors[source] for name, source in block.inputs.items()}
            values = self._sessions[block.name].run(list(block.outputs), inputs)
            tensors |= {f'{block.name}/{n}': v for n, v in zip(block.outputs, values, strict=True)}
        scores = tensors[self._detection['scores']][0]
        best = np.argsort(-scores)[:_MOST_BOXES]
        best = best[scores[best] >= _LEAST_SCORE]
        corners = tensors[self._detection['boxes']][0][best] * (image.shape[1] / width)
        ids = tensors[self._detection['class_ids']][0][best].astype(np.int64)
        boxes = Boxes(corners.astype(np.float32), ids, True, scores[best].astype(np.float32))
        logits = torch.from_numpy(tensors[f'trunk/{OWN}'] + tensors[f'wide/{WIDE}'])[:, :-1]
        full = functional.interpolate(logits.softmax(dim=1), scale_factor=4, mode='bilinear')
        coarse = (max(height // STRIDE, 1), max(width // STRIDE, 1))
        pixels = functional.interpolate(full[:, :, :height, :width], size=coarse, mode='area')
        return boxes, pixels[0].permute(1, 2, 0).contiguous()


def write_remote_labels(
    recipe: Recipe, sets: Sequence[SampleSet], data: Path, classes: ClassMap, model: Path
) -> Iterator[tuple[int, int]]:
    """Write missing labels of the remote teacher; yield (done, total).

    Args:
        recipe: whose sets these are.
        sets: missing files of `soft_label_path` and `teacher_boxes_path` are written.
        data: the data folder.
        classes: the network's classes.
        model: model folder with a cut.
    """
    missing = [[s for s in group.samples if _missing(s)] for group in sets]
    done, total = 0, sum(map(len, missing))
    if not total:
        return
    teacher = RemoteTeacher(model, (classes.detection, classes.segmentation))
    for source, samples in zip(recipe.sets, missing, strict=True):
        regions = complete_regions(source, data, classes)
        for sample in samples:
            boxes, pixels = teacher.predict(sample.image())
            if sample.teacher_boxes_path is not None:
                write_array(sample.teacher_boxes_path, as_rows(boxes))
            if sample.soft_label_path is not None:
                values = pixels.numpy()
                if sample.boxes is not None:
                    within_boxes(values, sample.boxes, sample.size, classes)
                for index, near in regions.get(sample.name, {}).items():
                    forbid_outside(values, index, near)
                write_array(sample.soft_label_path, normalised(values))
            done += 1
            yield done, total


def _missing(sample: Sample) -> bool:
    paths = (sample.soft_label_path, sample.teacher_boxes_path)
    return any(path is not None and not path.exists() for path in paths)


def as_rows(boxes: Boxes) -> NDArray[np.float32]:
    """Return boxes with scores as an array (n, 6) of x1, y1, x2, y2, class and score."""
    assert boxes.scores is not None
    parts = (boxes.corners, boxes.classes[:, None], boxes.scores[:, None])
    return np.concatenate(parts, axis=1).astype(np.float32)
