# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The class names that plain ONNX files do not carry."""

from __future__ import annotations

from collections.abc import Mapping

# fmt: off
COCO = (
    'person', 'bicycle', 'car', 'motorcycle', 'airplane', 'bus', 'train', 'truck', 'boat',
    'traffic light', 'fire hydrant', 'stop sign', 'parking meter', 'bench', 'bird', 'cat', 'dog',
    'horse', 'sheep', 'cow', 'elephant', 'bear', 'zebra', 'giraffe', 'backpack', 'umbrella',
    'handbag', 'tie', 'suitcase', 'frisbee', 'skis', 'snowboard', 'sports ball', 'kite',
    'baseball bat', 'baseball glove', 'skateboard', 'surfboard', 'tennis racket', 'bottle',
    'wine glass', 'cup', 'fork', 'knife', 'spoon', 'bowl', 'banana', 'apple', 'sandwich',
    'orange', 'broccoli', 'carrot', 'hot dog', 'pizza', 'donut', 'cake', 'chair', 'couch',
    'potted plant', 'bed', 'dining table', 'toilet', 'tv', 'laptop', 'mouse', 'remote',
    'keyboard', 'cell phone', 'microwave', 'oven', 'toaster', 'sink', 'refrigerator', 'book',
    'clock', 'vase', 'scissors', 'teddy bear', 'hair drier', 'toothbrush',
)
"""COCO's 80 classes, in the order that detectors number them."""

VOC = (
    'background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair',
    'cow', 'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa',
    'train', 'tvmonitor',
)
"""Pascal VOC's 21 classes, in the order that segmenters number them."""

VOC_SHARED: Mapping[str, tuple[str, ...]] = {
    'person': ('person',),
    'vehicle': ('aeroplane', 'bicycle', 'boat', 'bus', 'car', 'motorbike', 'train'),
    'animal': ('bird', 'cat', 'cow', 'dog', 'horse', 'sheep'),
    'seat': ('chair', 'sofa'),
    'table': ('diningtable',),
}
"""Our segmentation class → its VOC classes.

Only classes with the same meaning are listed: VOC has no wall and no floor, its potted plants
are not our vegetation, and its bottles and screens are a small part of our objects.
"""
# fmt: on
