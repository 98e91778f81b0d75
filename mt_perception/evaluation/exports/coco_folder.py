# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes images, true boxes and detections in COCO's formats, which FiftyOne imports.

The folder has the layout that FiftyOne calls ``COCODetectionDataset``: ``data/`` with the images
and ``labels.json`` with the ground truth. ``predictions.json`` has the detections as COCO's
results.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2

from mt_perception.evaluation.datasets.truth import Sample, TrueObjects
from mt_perception.evaluation.output import OutputFolder, write_text, writing
from mt_perception.evaluation.records import Json, to_json
from mt_perception.types import Detections, Result

LABELS_FILE = 'labels.json'
PREDICTIONS_FILE = 'predictions.json'
DATA = 'data'

_QUALITY = 95


class CocoFolder:
    """Writes one data set; use it in ``with``.

    Args:
        folder: The folder, new or of an earlier command.

    Raises:
        OutputError: The folder has files that no command wrote.
    """

    def __init__(self, folder: Path) -> None:
        self._output = OutputFolder(folder)
        self._data = OutputFolder(folder / DATA)
        self._images: list[Json] = []
        self._annotations: list[Json] = []
        self._predictions: list[Json] = []
        self._names: Sequence[str] = ()

    def add(self, sample: Sample, result: Result) -> None:
        """Write the image of one frame, and keep its boxes.

        Raises:
            OutputError: The image cannot be written.
        """
        number = len(self._images) + 1
        name = f'{number:06d}.jpg'
        height, width = sample.frame.image.shape[:2]
        path = self._data.file(name)
        coded = cv2.imencode('.jpg', sample.frame.image, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
        with writing(path):
            path.write_bytes(coded.tobytes())
        self._images.append(
            {'id': number, 'file_name': name, 'width': width, 'height': height, 'key': sample.key}
        )
        if result.detections is not None:
            self._add_detections(number, result.detections)
        if sample.truth is not None and sample.truth.objects is not None:
            self._add_objects(number, sample.truth.objects)

    def _add_detections(self, number: int, found: Detections) -> None:
        self._names = found.labels
        for one in found:
            box = _box(one.box)
            self._predictions.append(
                {'image_id': number, 'category_id': one.class_id + 1, 'bbox': box}
                | {'score': to_json(one.score)}
            )

    def _add_objects(self, number: int, objects: TrueObjects) -> None:
        self._names = objects.labels
        for box, class_id, crowd, area in zip(
            objects.boxes, objects.class_ids, objects.crowd, objects.areas, strict=True
        ):
            if class_id >= 0:
                self._annotations.append(
                    {
                        'id': len(self._annotations) + 1,
                        'image_id': number,
                        'category_id': int(class_id) + 1,
                        'bbox': _box(box),
                        'area': float(area),
                        'iscrowd': int(crowd),
                    }
                )

    def __enter__(self) -> CocoFolder:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        categories = [{'id': i, 'name': name} for i, name in enumerate(self._names, 1)]
        labels = {
            'info': {'description': 'written by mt_perception evaluate'},
            'images': self._images,
            'annotations': self._annotations,
            'categories': categories,
        }
        write_text(self._output.file(LABELS_FILE), json.dumps(labels))
        write_text(self._output.file(PREDICTIONS_FILE), json.dumps(self._predictions))
        self._data.finish()
        self._output.finish()


def _box(corners: Iterable[float]) -> list[float]:
    """COCO's x, y, width, height of x0, y0, x1, y1."""
    x0, y0, x1, y1 = (float(value) for value in corners)
    return [x0, y0, x1 - x0, y1 - y0]
