# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Ground truth from the files of a folder, by the name of the image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import SourceError
from mt_perception.evaluation.datasets.annotations import (
    AnnotatedImage,
    Annotation,
    AnnotationSet,
    inside,
    key_of,
)
from mt_perception.evaluation.datasets.coco import read_coco_file
from mt_perception.evaluation.datasets.layout import Layout, find_layout
from mt_perception.evaluation.datasets.maps import at_size, read_depth_map, read_label_map
from mt_perception.evaluation.datasets.mot import frame_key, read_tracks
from mt_perception.evaluation.datasets.taxonomy import ClassMap, read_class_names
from mt_perception.evaluation.datasets.truth import GroundTruth, TrueObjects
from mt_perception.evaluation.datasets.tum import associations
from mt_perception.evaluation.datasets.yolo import read_yolo_labels

BOXES, LABELS, DEPTH = 'boxes', 'labels', 'depth'


class TruthFiles:
    """A folder with any of object annotations or tracks, label images and depth images.

    Maps are found by the image's key: ``depth_mm/<key>.png`` (16 bits, millimetres, 0 where
    unknown), ``semantic/<key>.png`` (or labels, label, masks; the value or palette index is a
    class id). The names of those ids come from a YAML file with ``classes`` beside them.
    ``layout.py`` lists the other layouts.

    Args:
        folder: The folder.
        classes: The labels of the model that is evaluated.
        class_names: The YAML file of names, where it is not the only one in the folder.
        split: The split, where each has a folder of its own.

    Raises:
        SourceError: A file cannot be read, or there are label images without names.
    """

    def __init__(
        self,
        folder: Path,
        classes: ClassMap,
        class_names: Path | None = None,
        split: str | None = None,
    ) -> None:
        self.layout = find_layout(folder, split)
        self.annotations = read_annotations(self.layout, class_names)
        self.matched: Counter[str] = Counter()
        self._classes = classes
        self._images: Mapping[str, AnnotatedImage] = {}
        if self.annotations is not None and classes.detection:
            self._images = {key_of(i.file_name): i for i in self.annotations.images}
            self._exhaustive = classes.exhaustive(self.annotations.labels)
        self._table = None
        if self.layout.labels is not None and classes.segmentation:
            self._table = classes.segmentation_table(label_names(self.layout, class_names))
        self._depth_keys = associations(self.layout.root) if self.layout.tum else None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of ground truth in this folder: of ``boxes``, ``labels`` and ``depth``."""
        there = {
            BOXES: self.annotations is not None and bool(self._classes.detection),
            LABELS: self._table is not None,
            DEPTH: self.layout.depth is not None,
        }
        return tuple(kind for kind, known in there.items() if known)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what was found and not used."""
        if self.annotations is None and self.layout.yolo is not None:
            note = (
                f'{self.layout.yolo} has text files, which are not read as YOLO labels: add '
                'data.yaml with "names", or name a file of class names with --class-names'
            )
            return (*self.layout.notes, note)
        if self.annotations is None:
            return self.layout.notes
        skipped = self.annotations.skipped.sentences()
        return (*self.layout.notes, *(f'{self.annotations.path}: {text}' for text in skipped))

    def size_of(self, key: str) -> tuple[int, int] | None:
        """The (height, width) that the annotation gives for an image; None where it does not."""
        image = None if self.layout.tracks else self._images.get(key)
        return None if image is None or image.size == (1, 1) else image.size

    def find(self, key: str, size: tuple[int, int], number: int = 0) -> GroundTruth | None:
        """The ground truth of one image; None if there is none.

        Args:
            key: Key of the image.
            size: Its (height, width).
            number: Its number in the recording, from 1, by which tracks are found; 0 for none.

        Raises:
            SourceError: A map of this image is damaged or of another shape.
        """
        has_tracks = self.layout.tracks is not None
        image = self._images.get(frame_key(number) if has_tracks else key)
        label_path, depth_path = self._label_path(key), self._depth_path(key)
        there = {BOXES: image, LABELS: label_path, DEPTH: depth_path}
        self.matched.update(kind for kind, found in there.items() if found is not None)
        objects = None if image is None else self._objects(image.in_pixels(size))
        labels = None if label_path is None else self._read_labels(label_path, size)
        depth = None if depth_path is None else self._read_depth(depth_path, size)
        if objects is None and depth is None and labels is None:
            return None
        return GroundTruth(objects, labels, self._classes.segmentation, depth)

    def unmatched(self, keys: Sequence[str]) -> tuple[str, ...]:
        """A sentence for each kind of truth that no image had, after ``find`` for some images."""
        places = {
            BOXES: None if self.annotations is None else self.annotations.path,
            LABELS: self.layout.labels,
            DEPTH: self.layout.depth,
        }
        names = ', '.join(repr(key) for key in keys[:3])
        return tuple(
            f'no image has ground truth ({kind}) in {places[kind]}: expected the names of the '
            f'images, which are {names}{" …" if len(keys) > 3 else ""}'
            for kind in self.kinds
            if keys and not self.matched[kind]
        )

    def _objects(self, annotations: Sequence[Annotation]) -> TrueObjects:
        boxes = [annotation.box for annotation in annotations]
        ids = [self._classes.detection_id(annotation.label) for annotation in annotations]
        return TrueObjects(
            boxes=np.array(boxes, np.float32).reshape(-1, 4),
            class_ids=np.array(ids, np.int64),
            crowd=np.array([annotation.crowd for annotation in annotations], np.bool_),
            areas=np.array([annotation.area for annotation in annotations], np.float64),
            exhaustive=self._exhaustive,
            labels=self._classes.detection,
            track_ids=None
            if self.layout.tracks is None
            else np.array([annotation.track for annotation in annotations], np.int64),
        )

    def _label_path(self, key: str) -> Path | None:
        return None if self._table is None else find_map(self.layout.labels, key)

    def _depth_path(self, key: str) -> Path | None:
        name = key if self._depth_keys is None else self._depth_keys.get(key)
        return None if name is None else find_map(self.layout.depth, name)

    def _read_labels(self, path: Path, size: tuple[int, int]) -> NDArray[np.uint8] | None:
        ids = at_size(read_label_map(path), size, str(path))
        return None if self._table is None else np.asarray(self._table[ids], np.uint8)

    def _read_depth(self, path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
        depth = read_depth_map(path, self.layout.units_per_metre)
        return np.asarray(at_size(depth, size, str(path)), np.float32)


def read_annotations(layout: Layout, class_names: Path | None = None) -> AnnotationSet | None:
    """The object annotations of a data set; None where it has none, or YOLO's lack class names.

    Raises:
        SourceError: They cannot be read.
    """
    if layout.tracks is not None:
        names = None if class_names is None else read_class_names(class_names)
        return read_tracks(layout.tracks, names)
    if layout.coco is not None:
        return read_coco_file(layout.coco)
    names_file = class_names or layout.yolo_names
    if layout.yolo is None or names_file is None:
        return None
    return read_yolo_labels(layout.yolo, layout.list_images(), read_class_names(names_file))


def label_names(layout: Layout, class_names: Path | None = None) -> Mapping[int, str]:
    """Class id → name of a data set's label images.

    Raises:
        SourceError: No file, or more than one, can name the classes.
    """
    if class_names is None:
        found = sorted(path for path in layout.root.glob('*.y*ml') if path != layout.yolo_names)
        if len(found) != 1:
            raise SourceError(
                f'{layout.labels} has label images, and {len(found)} YAML files in '
                f'{layout.root} could name their classes; name one with --class-names'
            )
        class_names = found[0]
    return read_class_names(class_names)


def find_map(folder: Path | None, key: str) -> Path | None:
    """The PNG of an image's key in a folder of maps; None where there is none.

    Raises:
        SourceError: The key leads out of the folder.
    """
    path = None if folder is None else inside(folder, f'{key}.png')
    return path if path is not None and path.is_file() else None
