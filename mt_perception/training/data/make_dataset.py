# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Makes a data set out of recordings: frames, depth, and pseudo labels of a model.

The folder is what `train` and `evaluate` read: images/, depth_mm/, camera-intrinsics.txt and, with
a model, instances.json (COCO) and semantic/ with classes.yaml.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from mt_perception import __version__
from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.dataset_folder import INTRINSICS_FILE
from mt_perception.evaluation.datasets.layout import DEPTH_FOLDER, INSTANCES_FILE
from mt_perception.evaluation.datasets.maps import MILLIMETRES
from mt_perception.evaluation.datasets.open_samples import SourceOptions, open_samples
from mt_perception.evaluation.datasets.sample_source import safe_name
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_taxonomy
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.output import write_text, writing
from mt_perception.pipeline import Pipeline
from mt_perception.sources import is_bag
from mt_perception.sources.positions import Positions, read_positions
from mt_perception.types import DETECTION, SEGMENTATION, Intrinsics, Result

IMAGES, SEMANTIC, CLASSES_FILE = 'images', 'semantic', 'classes.yaml'
_THUMBNAIL = (32, 24)  # width, height
_DEPTH = 'depth'
_JPEG_QUALITY = 92


@dataclass(frozen=True)
class DatasetOptions:
    """Settings of a data set that is made from a recording.

    Args:
        every_s: shortest time between two images of a recording, in seconds.
        every_m: shortest distance between two images of a bag, in metres; 0 for none.
        pose_topic: topic of poses or odometry; None for the only one.
        min_change: smallest mean difference to all kept images, in grey levels of a thumbnail;
            more similar images are near-duplicates. 0 keeps all.
        max_images: largest number of images; 0 for no limit.
        source: how recordings are read.
    """

    every_s: float = 1.0
    every_m: float = 0.0
    pose_topic: str | None = None
    min_change: float = 4.0
    max_images: int = 0
    source: SourceOptions = field(default_factory=SourceOptions)


@dataclass
class DatasetWriter:
    """Writes images and labels into a new folder.

    Args:
        folder: the folder; created with the first image, and must be empty if it exists.
        options: which frames are kept.
        pipeline: model for pseudo labels; None writes none.
        model: name of the model.

    Raises:
        SourceError: the folder has files already.
    """

    folder: Path
    options: DatasetOptions
    pipeline: Pipeline | None = None
    model: str = ''
    skipped: Counter[str] = field(default_factory=Counter)
    written: int = 0
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.folder.exists() and any(self.folder.iterdir()):
            raise SourceError(f'{self.folder} has files already; name a new folder for --out')
        self._thumbnails: list[NDArray[np.float32]] = []
        self._camera: Intrinsics | None = None
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []

    def add(self, recording: Path) -> Iterator[int]:
        """Add the frames of a bag, a video or a folder; yield the number of frames read.

        Raises:
            SourceError: the recording cannot be read, or has another camera than earlier ones.
        """
        if self.folder.resolve().is_relative_to(recording.resolve()):
            raise SourceError(f'{self.folder} is inside the recording {recording}; name another')
        classes = ClassMap((), (), read_taxonomy())
        last_ns: int | None = None
        distance = _Distance(recording, self.options)
        with open_samples(str(recording), self.options.source, classes) as samples:
            with_depth = _DEPTH in samples.truth_kinds
            for number, sample in enumerate(samples, 1):
                if self.options.max_images and self.written >= self.options.max_images:
                    break
                stamp_ns = sample.frame.stamp_ns
                due = last_ns is None or abs(stamp_ns - last_ns) >= self.options.every_s * 1e9
                reason = '' if due else 'too soon after the last image'
                reason = reason or distance.reason_to_skip(stamp_ns)
                reason = reason or self._reason_to_skip(sample, with_depth)
                if reason:
                    self.skipped[reason] += 1
                else:
                    self._write(sample, f'{samples.name}_{stamp_ns:019d}')
                    last_ns = stamp_ns
                    distance.take(stamp_ns)
                yield number
            self.notes += samples.all_notes()

    def _reason_to_skip(self, sample: Sample, with_depth: bool) -> str:
        if with_depth and (sample.truth is None or sample.truth.depth is None):
            return 'without a depth image'
        thumbnail = _thumbnail(sample.frame.image)
        if self._thumbnails and self.options.min_change > 0:
            kept = np.stack(self._thumbnails)
            if float(np.abs(kept - thumbnail).mean(axis=(1, 2)).min()) < self.options.min_change:
                return 'near-duplicate of another image'
        self._thumbnails.append(thumbnail)
        return ''

    def _write(self, sample: Sample, name: str) -> None:
        frame, file = sample.frame, f'{safe_name(name)}.jpg'
        self._check_camera(frame.intrinsics)
        quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
        _write_image(self.folder / IMAGES / file, frame.image, quality)
        if sample.truth is not None and sample.truth.depth is not None:
            units = np.nan_to_num(sample.truth.depth, nan=0.0) * MILLIMETRES
            units[units > np.iinfo(np.uint16).max] = 0
            path = (self.folder / DEPTH_FOLDER / file).with_suffix('.png')
            _write_image(path, np.rint(units).astype(np.uint16))
        height, width = frame.image.shape[:2]
        self.written += 1
        self._images.append(
            {'id': self.written, 'file_name': file, 'height': height, 'width': width}
        )
        if self.pipeline is not None:
            self._label(self.pipeline.run(frame), file)

    def _check_camera(self, camera: Intrinsics | None) -> None:
        if camera is None:
            return
        if self._camera is None:
            self._camera = camera
        first = self._camera
        if abs(camera.fx / camera.width / (first.fx / first.width) - 1) > 0.01:
            raise SourceError(
                f'the recordings have different cameras (fx {first.fx:.1f} and {camera.fx:.1f} '
                'pixels); make a data set of each'
            )

    def _label(self, result: Result, file: str) -> None:
        """Add a model's detections and segmentation as pseudo labels."""
        for found in result.detections or ():
            x0, y0, x1, y1 = (round(float(value), 2) for value in found.box)
            self._annotations.append(
                {
                    'id': len(self._annotations) + 1,
                    'image_id': self.written,
                    'category_id': found.class_id + 1,
                    'bbox': [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
                    'area': round((x1 - x0) * (y1 - y0), 2),
                    'iscrowd': 0,
                    'score': round(float(found.score), 4),
                }
            )
        if result.segmentation is not None:
            # 0 is unlabelled, so that an annotation tool can erase.
            ids = result.segmentation.class_ids.astype(np.uint8) + 1
            path = (self.folder / SEMANTIC / file).with_suffix('.png')
            _write_image(path, ids)

    def finish(self) -> None:
        """Write the annotation file, the class names and the camera.

        Raises:
            SourceError: no frame was kept.
        """
        if not self.written:
            reasons = ', '.join(f'{n} {reason}' for reason, n in self.skipped.items())
            raise SourceError(f'no frame was kept ({reasons or "the recordings have none"})')
        if self._camera is not None:
            c = self._camera
            rows = ((c.fx, 0, c.cx), (0, c.fy, c.cy), (0, 0, 1))
            text = '\n'.join(' '.join(f'{value:.6f}' for value in row) for row in rows)
            write_text(self.folder / INTRINSICS_FILE, text + '\n')
        if self.pipeline is None:
            return
        tasks = self.pipeline.manifest.tasks
        mark = f'pseudo labels of {self.model}, not checked by a person'
        if DETECTION in tasks:
            names: Sequence[str] = tasks[DETECTION].labels
            content = {
                'info': {'description': mark, 'contributor': f'mt_perception {__version__}'},
                'images': self._images,
                'annotations': self._annotations,
                'categories': [{'id': i, 'name': name} for i, name in enumerate(names, 1)],
            }
            write_text(self.folder / INSTANCES_FILE, json.dumps(content, indent=1))
        if SEGMENTATION in tasks:
            named = {0: 'unlabeled', **dict(enumerate(tasks[SEGMENTATION].labels, 1))}
            text = f'# {mark}\n' + yaml.safe_dump({'classes': named}, sort_keys=False)
            write_text(self.folder / CLASSES_FILE, text)


class _Distance:
    """Whether the camera moved far enough since the last image; always, without a distance."""

    def __init__(self, recording: Path, options: DatasetOptions) -> None:
        self._every_m = options.every_m
        self._last: NDArray[np.float64] | None = None
        self._positions: Positions | None = None
        if options.every_m > 0:
            if not is_bag(recording):
                raise SourceError(
                    f'{recording} is not a bag: --every-m needs a topic with poses or odometry'
                )
            self._positions = read_positions(recording, options.pose_topic)

    def reason_to_skip(self, stamp_ns: int) -> str:
        if self._positions is None:
            return ''
        here = self._positions.at(stamp_ns)
        if here is None:
            return 'without a position within a second'
        near = self._last is not None and float(np.linalg.norm(here - self._last)) < self._every_m
        return 'too near to the last image' if near else ''

    def take(self, stamp_ns: int) -> None:
        if self._positions is not None:
            self._last = self._positions.at(stamp_ns)


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a small grey image with mean 128, float32 (24, 32): exposure does not count."""
    small = cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
    return np.asarray(grey - grey.mean() + 128, np.float32)


def _write_image(path: Path, image: NDArray[Any], parameters: Sequence[int] = ()) -> None:
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not cv2.imwrite(str(path), image, list(parameters)):
            raise OSError('the image cannot be written')
