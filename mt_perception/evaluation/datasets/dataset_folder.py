# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A data set in a folder: COCO-style, RGB-D, segmentation, or all three on one image."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mt_perception.errors import ImageError, SourceError
from mt_perception.evaluation.datasets.annotations import inside, key_of
from mt_perception.evaluation.datasets.layout import Layout
from mt_perception.evaluation.datasets.recording import read_recording
from mt_perception.evaluation.datasets.sample_source import Camera, SampleSource, with_camera
from mt_perception.evaluation.datasets.truth import Sample
from mt_perception.evaluation.datasets.truth_files import TruthFiles
from mt_perception.geometry.camera import resized
from mt_perception.image.read import read_image
from mt_perception.sources.image_folder import NOMINAL_RATE_HZ
from mt_perception.types import Frame, Intrinsics

INTRINSICS_FILE = 'camera-intrinsics.txt'
HELD_OUT = 'held_out'
TRAIN = 'train'

_BLOCK = 5


def held_out(index: int) -> bool:
    """Whether the image at an index of a sorted recording is held out of training.

    Every fifth block of five is: neighbouring frames of a recording are nearly the same.
    """
    return index // _BLOCK % _BLOCK == 2


class DatasetFolder(SampleSource):
    """The images of a data set, in the order of their names.

    Args:
        layout: Where the images are.
        name: Name of the source.
        files: Ground truth in files, of the same folder or of another.
        split: Keep the images of one split of the annotation file; of a recording without one,
            ``held_out`` or ``train``.
        camera: Replaces ``meta.json`` and ``camera-intrinsics.txt`` beside the images, if given.
        keys: Keep only images of these keys.

    Raises:
        SourceError: There is no image, or none of that split.
    """

    def __init__(
        self,
        layout: Layout,
        name: str,
        files: TruthFiles,
        split: str | None = None,
        camera: Camera | None = None,
        keys: frozenset[str] | None = None,
    ) -> None:
        self._images = layout.images
        self._files = files
        splits = _list_splits(layout, files)
        # By plain name, as training sorts them: the held-out blocks depend on the order.
        names = sorted(splits)
        if layout.has_split:
            split = None
        self._names = [n for i, n in enumerate(names) if _of_split(n, i, split, splits)]
        self._numbers = {name: number for number, name in enumerate(names, 1)}
        if keys is not None:
            self._names = [n for n in self._names if key_of(n) in keys]
        if not self._names:
            known = sorted({s for s in splits.values() if s}) or [HELD_OUT, TRAIN]
            raise SourceError(
                f'{layout.root} has {len(names)} images and none of them is of split {split!r}; '
                f'its splits: {", ".join(known)}'
                if names
                else f'{self._images} has no image'
            )
        super().__init__(name, 'folder', files.kinds, len(self._names))
        self.notes += [*files.notes, *_links_out(layout.images, self._names)]
        self._camera = camera
        self._recording = read_recording(layout.root)
        self._matrix = read_intrinsics(layout.root / INTRINSICS_FILE)

    def __iter__(self) -> Iterator[Sample]:
        for index, name in enumerate(self._names):
            try:
                annotated = self._files.size_of(key_of(name))
                image = read_image(inside(self._images, name), annotated)
                size = image.shape[0], image.shape[1]
                truth = self._files.find(key_of(name), size, self._numbers[name])
            except ImageError as error:
                self.reject(error.reason, name, error)
            except SourceError as error:
                self.reject('bad_truth', name, error)
            else:
                height, width = image.shape[:2]
                # Not from 0, which stands for an unknown time.
                stamp_ns = round((index + 1) * 1e9 / NOMINAL_RATE_HZ)
                frame = Frame(image, stamp_ns, 'camera', self._intrinsics(name, width, height))
                yield Sample(with_camera(frame, self._camera), truth, key_of(name), self.name)
        self.notes += self._files.unmatched([key_of(name) for name in self._names])

    def close(self) -> None:
        """No file stays open between two images."""

    def _intrinsics(self, name: str, width: int, height: int) -> Intrinsics | None:
        if self._recording is not None:
            return self._recording.intrinsics(key_of(name), (height, width))
        if self._matrix is None:
            return None
        # The principal point is near the centre, so it gives the image size of the matrix.
        if abs(width / self._matrix.width - 1) < 0.1:
            return replace(self._matrix, width=width, height=height)
        return resized(self._matrix, height, width)


def _list_splits(layout: Layout, files: TruthFiles) -> dict[str, str]:
    """Image file → its split, which is empty where there is none."""
    annotations = files.annotations
    if annotations is None or files.layout.tracks is not None:
        return dict.fromkeys(layout.list_images(), '')
    if files.layout.images == layout.images:
        return {image.file_name: image.split for image in annotations.images}
    splits = {key_of(image.file_name): image.split for image in annotations.images}
    return {name: splits.get(key_of(name), '') for name in layout.list_images()}


def _links_out(folder: Path, names: Sequence[str]) -> list[str]:
    """A sentence on images that are links to files outside their folder."""
    # Path.resolve raises where a link leads to itself.
    root = os.path.realpath(folder)
    links = [
        name
        for name in names
        if (folder / name).is_symlink()
        and not Path(os.path.realpath(folder / name)).is_relative_to(root)
    ]
    if not links:
        return []
    return [
        f'{len(links)} images of {folder} are links to files outside it, for example {links[0]}'
    ]


def _of_split(name: str, index: int, split: str | None, splits: dict[str, str]) -> bool:
    if split is None:
        return True
    if any(splits.values()):
        return splits[name] == split
    return held_out(index) if split == HELD_OUT else split == TRAIN and not held_out(index)


def read_intrinsics(path: Path) -> Intrinsics | None:
    """The camera of a text file with a 3×3 matrix; None if there is no file."""
    if not path.is_file():
        return None
    try:
        matrix = np.array(path.read_text(encoding='utf-8').split(), np.float64).reshape(3, 3)
    except (OSError, ValueError) as error:
        raise SourceError(f'{path} cannot be read: {error}') from error
    if not np.isfinite(matrix).all() or (matrix[:2, 2] < 1).any():
        raise SourceError(f'{path} does not hold a camera matrix of 3x3 numbers')
    fx, cx, fy, cy = (float(v) for v in (matrix[0, 0], matrix[0, 2], matrix[1, 1], matrix[1, 2]))
    # The centre is written as (size - 1) / 2 or as size / 2; sizes are even.
    return Intrinsics(fx, fy, cx, cy, width=2 * int(cx + 0.5), height=2 * int(cy + 0.5))
