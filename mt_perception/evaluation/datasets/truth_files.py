# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth from files: what a folder knows about an image of a given name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.maps import at_size, decode_map, metres
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_class_names
from mt_perception.evaluation.datasets.truth import GroundTruth, TrueObjects
from mt_perception.evaluation.records import Json

LABEL_FOLDERS = ('semantic', 'labels', 'label', 'masks')
DEPTH_FOLDER = 'depth_mm'
INSTANCES_FILE = 'instances.json'
MAX_FILE_BYTES = 1 << 30


@dataclass(frozen=True)
class ListedImage:
    """An image that ``instances.json`` lists: its file name and the split it belongs to."""

    file_name: str
    split: str


class TruthFiles:
    """A folder with any of ``instances.json`` (COCO), label images and ``depth_mm``.

    Maps are found by the image's key: ``depth_mm/<key>.png`` (16 bits, millimetres, 0 where
    unknown), ``semantic/<key>.png`` (or labels, label, masks; the pixel is a class id). The
    names of those ids come from a YAML file with ``classes`` beside them.

    Args:
        folder: The folder.
        classes: The labels of the model that is measured.
        class_names: The YAML file of names, where it is not the only one in the folder.

    Raises:
        SourceError: A file cannot be read, or there are label images without names.
    """

    def __init__(self, folder: Path, classes: ClassMap, class_names: Path | None = None) -> None:
        self._root = folder.resolve()
        self._classes = classes
        self._depth = self._existing([DEPTH_FOLDER])
        self._labels = self._existing(LABEL_FOLDERS) if classes.segmentation else None
        self._table = None if self._labels is None else self._label_table(class_names)
        self.images: tuple[ListedImage, ...] | None = None
        self._objects: dict[str, TrueObjects] = {}
        instances = folder / INSTANCES_FILE
        if instances.is_file():
            self._read_instances(instances)

    @property
    def kinds(self) -> tuple[str, ...]:
        """What this folder can know: of ``boxes``, ``labels`` and ``depth``."""
        there = {
            'boxes': self.images is not None and bool(self._classes.detection),
            'labels': self._table is not None,
            'depth': self._depth is not None,
        }
        return tuple(kind for kind, known in there.items() if known)

    def find(self, key: str, size: tuple[int, int]) -> GroundTruth | None:
        """What is known about the image of this key, of (height, width); None for nothing.

        Raises:
            SourceError: A map of this image is damaged or of another shape.
        """
        objects = self._objects.get(key)
        depth = self._map(self._depth, key, size)
        labels = self._map(self._labels, key, size)
        if objects is None and depth is None and labels is None:
            return None
        return GroundTruth(
            objects=objects,
            segmentation=None if labels is None or self._table is None else self._table[labels],
            segmentation_labels=self._classes.segmentation,
            depth=None if depth is None else metres(depth),
        )

    def _existing(self, names: Iterable[str]) -> Path | None:
        return next((self._root / n for n in names if (self._root / n).is_dir()), None)

    def _label_table(self, class_names: Path | None) -> NDArray[np.uint8]:
        if class_names is None:
            found = sorted(self._root.glob('*.y*ml'))
            if len(found) != 1:
                raise SourceError(
                    f'{self._labels} has label images, and {len(found)} YAML files in '
                    f'{self._root} could name their classes; name one with --class-names'
                )
            class_names = found[0]
        return self._classes.segmentation_table(read_class_names(class_names))

    def _map(self, folder: Path | None, key: str, size: tuple[int, int]) -> NDArray[Any] | None:
        if folder is None:
            return None
        path = inside(folder, f'{key}.png')
        try:
            if not path.is_file():
                return None
            if path.stat().st_size > MAX_FILE_BYTES:
                raise SourceError(f'{path} is larger than {MAX_FILE_BYTES} bytes')
            values = decode_map(path.read_bytes(), str(path))
        except OSError as error:
            raise SourceError(f'{path} cannot be read: {error.strerror}') from error
        return at_size(values, size, str(path))

    def _read_instances(self, path: Path) -> None:
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise SourceError(f'{path} is larger than {MAX_FILE_BYTES} bytes')
            data = json.loads(path.read_text(encoding='utf-8'))
            names = {row['id']: str(row['name']) for row in data['categories']}
            listed = {row['id']: row for row in data['images']}
            exhaustive = self._classes.exhaustive(names.values())
            rows: dict[Json, list[Json]] = {number: [] for number in listed}
            for row in data['annotations']:
                rows[row['image_id']].append(row)
            for number, image in listed.items():
                key = key_of(str(image['file_name']))
                self._objects[key] = self._true_objects(rows[number], names, exhaustive)
        except OSError as error:
            raise SourceError(f'{path} cannot be read: {error.strerror}') from error
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise SourceError(
                f'{path} is not in COCO format ({error!r}); expected "images", "annotations" '
                'and "categories"'
            ) from error
        self.images = tuple(
            ListedImage(str(row['file_name']), str(row.get('split', row.get('coco_split', ''))))
            for row in listed.values()
        )
        if not self._classes.detection:
            self._objects = {}

    def _true_objects(
        self, rows: list[Json], names: Mapping[Json, str], exhaustive: frozenset[int]
    ) -> TrueObjects:
        boxes = np.array([row['bbox'] for row in rows], np.float64).reshape(-1, 4)
        areas = [row.get('area', row['bbox'][2] * row['bbox'][3]) for row in rows]
        boxes[:, 2:] += boxes[:, :2]
        return TrueObjects(
            boxes=boxes.astype(np.float32),
            class_ids=np.array(
                [self._classes.detection_id(names[row['category_id']]) for row in rows], np.int64
            ),
            crowd=np.array([bool(row.get('iscrowd', 0)) for row in rows], np.bool_),
            areas=np.array(areas, np.float64),
            exhaustive=exhaustive,
            labels=self._classes.detection,
        )


def key_of(file_name: str) -> str:
    """The key of an image: its name in the folder, without the suffix."""
    return str(PurePosixPath(file_name).with_suffix(''))


def inside(folder: Path, name: str) -> Path:
    """A file of a folder by the name that a data set gives it.

    Raises:
        SourceError: The name leads out of the folder, also by a link.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise SourceError(f'file name {name!r} leads out of {folder}; refused')
    return path
