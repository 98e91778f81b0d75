# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Known families of networks: their decoder and how they expect their image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mt_perception.model.importers.choice import Channels
from mt_perception.model.input_spec import LETTERBOX, STRETCH
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION

_ZEROS: Channels = (0.0, 0.0, 0.0)
_ONES: Channels = (1.0, 1.0, 1.0)
_UNIT: Channels = (255.0, 255.0, 255.0)
_HALF: Channels = (127.5, 127.5, 127.5)
_MEAN: Channels = (123.675, 116.28, 103.53)
_STD: Channels = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Preset:
    """A family of networks.

    Attributes:
        task: The task it serves.
        about: What it is, for users.
        decoder: Name of its decoder (see ``detection_decoders.DECODERS``); empty for maps.
        mean: See ``Preprocess``.
        std: See ``Preprocess``.
        rgb: See ``Preprocess``.
        fit: ``letterbox`` or ``stretch``.
        size: (H, W) for a network of any size.
    """

    task: str
    about: str
    decoder: str = ''
    mean: Channels = _ZEROS
    std: Channels = _ONES
    rgb: bool = True
    fit: str = STRETCH
    size: tuple[int, int] = (640, 640)


def _yolo(decoder: str, about: str) -> Preset:
    return Preset(DETECTION, about, decoder, std=_UNIT, fit=LETTERBOX)


def _detr(decoder: str, about: str) -> Preset:
    return Preset(DETECTION, about, decoder, std=_UNIT)


PRESETS: Mapping[str, Preset] = {
    'yolox': Preset(
        DETECTION,
        'YOLOX, (1, N, 5 + C) on the grid',
        'yolox',
        rgb=False,
        fit=LETTERBOX,
    ),
    'yolox-decoded': Preset(
        DETECTION,
        'YOLOX exported with its decoding, (1, N, 5 + C)',
        'yolov5',
        rgb=False,
        fit=LETTERBOX,
    ),
    'yolov5': _yolo('yolov5', 'YOLOv5, v6, v7: (1, N, 5 + C)'),
    'yolov8': _yolo('yolov8', 'YOLOv8, v9, 11, 12: (1, 4 + C, N)'),
    'yolo-nms': _yolo('yolo-nms', 'YOLOv10, 26, v5 to v12 with NMS in the graph: (1, N, 6)'),
    'yolov7-nms': _yolo('yolov7-nms', 'YOLOv7 with NMS in the graph: (N, 7)'),
    'rt-detr': _detr('detr', 'RT-DETR, D-FINE, DEIM: logits (1, N, C) and boxes (1, N, 4)'),
    'd-fine': _detr('labelled-boxes', 'D-FINE, RT-DETR with labels, boxes and scores'),
    'rf-detr': Preset(DETECTION, 'RF-DETR: boxes and logits', 'detr', _MEAN, _STD),
    'detr': Preset(
        DETECTION, 'DETR: logits (1, N, C + 1) and boxes (1, N, 4)', 'detr-softmax', _MEAN, _STD
    ),
    'picodet': Preset(
        DETECTION, 'PicoDet: scores and sides at four strides', 'picodet', _MEAN, _STD
    ),
    'paddle-nms': Preset(
        DETECTION, 'PaddleDetection with NMS in the graph: (N, 6)', 'paddle-nms', _MEAN, _STD
    ),
    'nanodet': Preset(
        DETECTION,
        'NanoDet-Plus: (1, N, C + 4 bins)',
        'nanodet',
        _MEAN[::-1],
        _STD[::-1],
        rgb=False,
        size=(416, 416),
    ),
    'fastestdet': Preset(
        DETECTION,
        'FastestDet: (1, 5 + C, h, w)',
        'fastestdet',
        std=_UNIT,
        rgb=False,
        size=(352, 352),
    ),
    'ssd': Preset(
        DETECTION,
        'SSD: class chances (1, N, 1 + C) and boxes (1, N, 4)',
        'ssd',
        (127.0, 127.0, 127.0),
        (128.0, 128.0, 128.0),
        size=(300, 300),
    ),
    'ssd-tensorflow': Preset(
        DETECTION, 'TensorFlow detection API', 'ssd-tensorflow', size=(320, 320)
    ),
    'torchvision': Preset(
        DETECTION, 'torchvision detectors: boxes, labels, scores', 'torchvision', std=_UNIT
    ),
    'segmentation': Preset(
        SEGMENTATION, 'logits or class ids, ImageNet normalisation', '', _MEAN, _STD,
        size=(512, 512),
    ),
    'deeplab-tensorflow': Preset(
        SEGMENTATION, 'DeepLab of TensorFlow, image in [-1, 1]', '', _HALF, _HALF, size=(513, 513)
    ),
    'depth': Preset(
        DEPTH, 'Depth Anything, MiDaS, ZoeDepth …: ImageNet normalisation', '', _MEAN, _STD,
        size=(518, 518),
    ),
    'tcmonodepth': Preset(DEPTH, 'TCMonoDepth, image in 0 to 255', '', size=(192, 320)),
}  # fmt: skip
"""Name → preset. Names are those of ``--decode``."""
