# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A data set in a folder: COCO-style, RGB-D, segmentation, or all three on one image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from mt_perception.errors import ImageError, SourceError
from mt_perception.evaluation.datasets.samples import Camera, SampleSource, with_camera
from mt_perception.evaluation.datasets.truth import GroundTruth, Sample
from mt_perception.evaluation.datasets.truth_files import TruthFiles, inside, key_of
from mt_perception.geometry.camera import resized
from mt_perception.image.compressed import decode
from mt_perception.sources.folder import NOMINAL_RATE_HZ, SUFFIXES
from mt_perception.types import Frame, Intrinsics

IMAGE_FOLDERS = ('images', 'rgb')
INTRINSICS_FILE = 'camera-intrinsics.txt'
HELD_OUT = 'held_out'
TRAIN = 'train'

_BLOCK = 5


def held_out(index: int) -> bool:
    """Whether the image at an index of a sorted recording is kept from training.

    Every fifth block of five: neighbouring frames of a recording are almost the same picture.
    """
    return index // _BLOCK % _BLOCK == 2


class DatasetFolder(SampleSource):
    """The images of a data set, in the order of their names.

    Args:
        path: A folder with ``images`` or ``rgb``, or a folder of images.
        name: Name of the source.
        files: What is known about them.
        split: Keep the images of one split of ``instances.json``; of a recording without one,
            ``held_out`` or ``train``.
        camera: Takes the place of ``camera-intrinsics.txt`` beside the images, if it is given.

    Raises:
        SourceError: There is no image, or none of that split.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        files: TruthFiles | None = None,
        split: str | None = None,
        camera: Camera | None = None,
    ) -> None:
        folders = (path / name for name in IMAGE_FOLDERS)
        self._images = next((folder for folder in folders if folder.is_dir()), path)
        self._files = files
        splits = self._list_images()
        # By plain name, as training sorts them: what is held out depends on the order.
        names = sorted(splits)
        self._names = [n for i, n in enumerate(names) if _of_split(n, i, split, splits)]
        if not self._names:
            known = sorted({s for s in splits.values() if s}) or [HELD_OUT, TRAIN]
            raise SourceError(
                f'{path} has {len(names)} images and none of them is of split {split!r}; '
                f'its splits: {", ".join(known)}'
                if names
                else f'{self._images} has no image'
            )
        kinds = () if files is None else files.kinds
        super().__init__(name, 'folder', kinds, len(self._names))
        self._camera = camera
        self._matrix = _read_intrinsics(path / INTRINSICS_FILE)

    def __iter__(self) -> Iterator[Sample]:
        for index, name in enumerate(self._names):
            try:
                image = decode(inside(self._images, name).read_bytes())
                truth = self._truth(name, (image.shape[0], image.shape[1]))
            except OSError:
                self.rejects['unreadable_file'] += 1
            except ImageError as error:
                self.rejects[error.reason] += 1
            except SourceError:
                self.rejects['bad_truth'] += 1
            else:
                height, width = image.shape[:2]
                stamp_ns = round(index * 1e9 / NOMINAL_RATE_HZ)
                frame = Frame(image, stamp_ns, 'camera', self._intrinsics(width, height))
                yield Sample(with_camera(frame, self._camera), truth, key_of(name), self.name)

    def close(self) -> None:
        """Nothing is held open between two images."""

    def _truth(self, name: str, size: tuple[int, int]) -> GroundTruth | None:
        return None if self._files is None else self._files.find(key_of(name), size)

    def _list_images(self) -> dict[str, str]:
        """Image file → its split, which is empty where there is none."""
        if self._files is not None and self._files.images is not None:
            return {image.file_name: image.split for image in self._files.images}
        try:
            files = list(self._images.iterdir())
        except OSError as error:
            raise SourceError(f'{self._images} cannot be read: {error.strerror}') from error
        return {file.name: '' for file in files if file.suffix.lower() in SUFFIXES}

    def _intrinsics(self, width: int, height: int) -> Intrinsics | None:
        if self._matrix is None:
            return None
        # The principal point is the centre or near it, which tells the size the matrix is for.
        if abs(width / self._matrix.width - 1) < 0.1:
            return replace(self._matrix, width=width, height=height)
        return resized(self._matrix, height, width)


def _of_split(name: str, index: int, split: str | None, splits: dict[str, str]) -> bool:
    if split is None:
        return True
    if any(splits.values()):
        return splits[name] == split
    return held_out(index) if split == HELD_OUT else split == TRAIN and not held_out(index)


def _read_intrinsics(path: Path) -> Intrinsics | None:
    """The camera in a text file with a 3×3 matrix; None where there is no file."""
    if not path.is_file():
        return None
    try:
        matrix = np.array(path.read_text(encoding='utf-8').split(), np.float64).reshape(3, 3)
    except (OSError, ValueError) as error:
        raise SourceError(f'{path} cannot be read: {error}') from error
    if not np.isfinite(matrix).all() or (matrix[:2, 2] < 1).any():
        raise SourceError(f'{path} does not hold a camera matrix of 3x3 numbers')
    fx, cx, fy, cy = (float(v) for v in (matrix[0, 0], matrix[0, 2], matrix[1, 1], matrix[1, 2]))
    # Either (size - 1) / 2 or size / 2 is written for the centre; sizes are even.
    return Intrinsics(fx, fy, cx, cy, width=2 * int(cx + 0.5), height=2 * int(cy + 0.5))
