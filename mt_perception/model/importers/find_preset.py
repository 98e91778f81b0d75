# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Recognises the family of a network from its outputs."""

from __future__ import annotations

import numpy as np
from onnx import helper

from mt_perception.errors import ModelError
from mt_perception.model.importers.choice import AUTO
from mt_perception.model.importers.detection_decoders import (
    MASK_COEFFICIENTS,
    boxes_and_classes,
    grid,
)
from mt_perception.model.importers.foreign_network import Network
from mt_perception.model.importers.presets import PRESETS
from mt_perception.types import DETECTION, SEGMENTATION


def find_preset(task: str, name: str, network: Network, labels: int) -> str:
    """The preset that the user named, or that fits the network.

    Args:
        task: The task.
        name: A preset, or ``auto``.
        network: The network.
        labels: Number of labels; 0 if unknown.

    Raises:
        ModelError: The name is unknown or of another task, or no preset fits.
    """
    known = {key: preset.about for key, preset in PRESETS.items() if preset.task == task}
    if name == AUTO:
        name = _recognised(task, network, labels)
    if name not in known:
        shapes = ', '.join(map(str, network.outputs))
        reason = f'{name!r} is not a decoder of {task}' if name else 'no known decoder fits'
        raise ModelError(
            f'{network.path}: {reason} (outputs: {shapes}); name one with --decode: '
            + '; '.join(f'{key} ({about})' for key, about in known.items())
        )
    return name


def _recognised(task: str, network: Network, labels: int) -> str:
    if task == DETECTION:
        return _detection(network, labels)
    if task == SEGMENTATION:
        return 'deeplab-tensorflow' if network.channels_last else 'segmentation'
    return 'tcmonodepth' if 'tcmonodepth' in network.path.stem.lower() else 'depth'


def _detection(network: Network, labels: int) -> str:
    outputs = network.detector_outputs
    names = ' '.join(output.name.lower() for output in outputs)
    shapes = [output.shape for output in outputs]
    if 'detection_boxes' in names:
        return 'ssd-tensorflow'
    if all(stem in names for stem in ('label', 'box', 'score')):
        return 'd-fine' if len(network.inputs) > 1 else 'torchvision'
    if len(shapes) >= 6 and len(shapes) % 2 == 0 and all(len(shape) == 3 for shape in shapes):
        return 'picodet'
    if len(shapes) == 2 and {len(shape) for shape in shapes} == {3}:
        return _boxes_and_classes(network, shapes, labels)
    return _one_output(network, shapes[0], labels)


def _boxes_and_classes(network: Network, shapes: list[tuple[int, ...]], labels: int) -> str:
    found = boxes_and_classes(shapes, [output.name for output in network.detector_outputs])
    if found is None:
        return ''
    classes = shapes[found[1]]
    if classes[1] > 1000:
        return 'ssd'
    if any(output.name == 'dets' for output in network.detector_outputs):
        return 'rf-detr'
    return 'detr' if labels and classes[-1] == labels + 1 else 'rt-detr'


def _one_output(network: Network, shape: tuple[int, ...], labels: int) -> str:
    if len(shape) == 4:
        return 'fastestdet' if shape[1] > 5 else ''
    if len(shape) == 2:
        return {7: 'yolov7-nms', 6: 'paddle-nms'}.get(shape[1], '')
    if len(shape) != 3:
        return ''
    count, columns = shape[1], shape[2]
    if columns == 6 and count <= 1000:
        return 'yolo-nms'
    classes = labels or 80
    if {4 + classes, 4 + classes + MASK_COEFFICIENTS} & {count, columns}:
        return 'yolov8'
    if columns == 5 + classes:
        return _with_objectness(network, count)
    if columns > classes and (columns - classes) % 4 == 0 and (columns - classes) // 4 >= 5:
        return 'nanodet'
    # Without labels the smaller side tells the layout of the boxes.
    if not labels and 4 < count < columns:
        return 'yolov8'
    return _with_objectness(network, count) if not labels and columns > 5 else ''


def _with_objectness(network: Network, count: int) -> str:
    """Tell three families apart by their values on a grey image.

    YOLOX has one box for each cell; its raw centres are offsets of about one cell. YOLOv6 has as
    many boxes, and an objectness of 1.
    """
    size = network.size
    if size is None or count != len(grid(size, (8, 16, 32))[0]):
        return 'yolov5'
    dtype = helper.tensor_dtype_to_np_dtype(network.image.kind)
    grey = np.full([abs(side) for side in network.image.shape], 114, dtype)
    values = network.run({network.image.name: grey})
    rows = values[network.outputs.index(network.detector_outputs[0])][0]
    if (rows[:, 4] == 1).all():
        return 'yolov5'
    return 'yolox' if float(np.abs(rows[:, :2]).mean()) < max(size) / 16 else 'yolox-decoded'
