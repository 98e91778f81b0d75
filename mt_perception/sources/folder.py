# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A folder of images (or one image) as a source of frames, in the order of the file names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from mt_perception.errors import ImageError, SourceError
from mt_perception.image.compressed import decode
from mt_perception.sources.source import Source, calibrated
from mt_perception.types import Frame, Intrinsics

SUFFIXES = frozenset({'.bmp', '.jpeg', '.jpg', '.png', '.webp'})

NOMINAL_RATE_HZ = 10.0
"""Files have no time of exposure; their stamps are as far apart as those of a slow camera."""


class ImageFolder(Source):
    """The images of one folder, without its sub-folders.

    Args:
        path: The folder, or one image file.
        camera: The camera that took all of them, if it is known.

    Raises:
        SourceError: There is no image.
    """

    def __init__(self, path: Path, camera: Intrinsics | None = None) -> None:
        self._files = [path] if path.is_file() else _images_in(path)
        if not self._files:
            raise SourceError(
                f'folder {path} has no image; expected files that end in '
                f'{", ".join(sorted(SUFFIXES))}'
            )
        super().__init__(path.name or str(path), len(self._files), None)
        self._calibration = camera

    def __iter__(self) -> Iterator[Frame]:
        for index, file in enumerate(self._files):
            try:
                image = decode(file.read_bytes())
            except OSError:
                self.rejects['unreadable_file'] += 1
            except ImageError as error:
                self.rejects[error.reason] += 1
            else:
                stamp_ns = round(index * 1e9 / NOMINAL_RATE_HZ)
                camera = calibrated(self._calibration, *image.shape[:2])
                yield Frame(image, stamp_ns, 'camera', camera)

    def close(self) -> None:
        """Nothing is held open between two images."""


def _images_in(folder: Path) -> list[Path]:
    """The image files of a folder, ``frame2`` before ``frame10``."""
    files = [file for file in folder.iterdir() if file.suffix.lower() in SUFFIXES]
    return sorted(files, key=_natural_key)


def _natural_key(file: Path) -> list[tuple[int, str]]:
    parts = re.split(r'(\d+)', file.name)
    return [(int(part), '') if part.isdecimal() else (-1, part) for part in parts]
