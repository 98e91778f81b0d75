# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A folder of images (or one image) as a source of frames, in the order of the file names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from mt_perception.errors import ImageError, SourceError
from mt_perception.image.read import IMAGE_SUFFIXES, read_image
from mt_perception.sources.frame_source import Source, calibrated, natural_key
from mt_perception.types import Frame, Intrinsics

NOMINAL_RATE_HZ = 10.0
"""Rate of the stamps: files carry no time of exposure."""

_LISTED = 1000
"""Entries of a folder without images that its error counts."""


class ImageFolder(Source):
    """The images of one folder, without its sub-folders.

    Args:
        path: The folder, or one image file.
        camera: The camera that took all of them, if it is known.

    Raises:
        SourceError: The folder cannot be read or holds no image file.
    """

    def __init__(self, path: Path, camera: Intrinsics | None = None) -> None:
        self._files = [path] if path.is_file() else _images_in(path)
        if not self._files:
            raise SourceError(_no_image(path))
        super().__init__(path.name or str(path), len(self._files), None)
        self._calibration = camera

    def __iter__(self) -> Iterator[Frame]:
        for index, file in enumerate(self._files):
            try:
                image = read_image(file)
            except ImageError as error:
                self.rejects[error.reason] += 1
            else:
                # Not from 0, which stands for an unknown time.
                stamp_ns = round((index + 1) * 1e9 / NOMINAL_RATE_HZ)
                camera = calibrated(self._calibration, *image.shape[:2])
                yield Frame(image, stamp_ns, 'camera', camera)

    def close(self) -> None:
        """Do nothing: no file stays open between two images."""


def _images_in(folder: Path) -> list[Path]:
    """The image files of a folder, ``frame2`` before ``frame10``."""
    try:
        files = [file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES]
    except OSError as error:
        raise SourceError(f'folder {folder} cannot be read: {error.strerror}') from error
    return sorted(files, key=natural_key)


def _no_image(folder: Path) -> str:
    """The sentence for a folder without images, with the files that it holds instead."""
    entries = list(islice(folder.iterdir(), _LISTED))
    suffixes = Counter(entry.suffix.lower() or entry.name for entry in entries if entry.is_file())
    found = [f'{count} {suffix} files' for suffix, count in suffixes.most_common(3)]
    deeper = [entry.name for entry in entries if entry.is_dir() and _images_in(entry)]
    if deeper:
        found.append(
            f'sub-folders with images ({", ".join(sorted(deeper)[:3])}): name one of them'
        )
    return (
        f'folder {folder} has no image; expected files that end in '
        f'{", ".join(sorted(IMAGE_SUFFIXES))}, found {"; ".join(found) or "nothing"}'
    )
