# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The interface of a source of frames: iterate over it once; it counts skipped images."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mt_perception.errors import SourceError
from mt_perception.geometry.camera import resized
from mt_perception.types import Frame, Intrinsics

ASPECT_TOLERANCE = 0.02


class Source(ABC):
    """Frames from a folder, a video, a camera or a bag, in the order of their stamps.

    Iterate over it inside ``with``. An image that cannot be read is left out and counted; the
    ones after it are still delivered.

    Attributes:
        name: Name of the file, device or topic.
        length: Number of frames to expect; None where it is unknown (a live camera).
        rate_hz: Frames per second of the recording; None where it has none (a folder).
        rejects: Reason → number of images that were left out, or that go without intrinsics
            because their camera_info is faulty.
        notes: Sentences for the user about the source as a whole; more may be added while it
            is read.
    """

    def __init__(self, name: str, length: int | None, rate_hz: float | None) -> None:
        self.name = name
        self.length = length
        self.rate_hz = rate_hz
        self.rejects: Counter[str] = Counter()
        self.notes: list[str] = []

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames.

        Raises:
            SourceError: The source as a whole became unreadable.
        """

    @abstractmethod
    def close(self) -> None:
        """Close files and devices; may be called twice."""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def natural_key(file: Path) -> list[tuple[int, str]]:
    """A key that sorts ``frame2`` before ``frame10``."""
    parts = re.split(r'(\d+)', file.name)
    return [(int(part), '') if part.isdecimal() else (-1, part) for part in parts]


def calibrated(camera: Intrinsics | None, height: int, width: int) -> Intrinsics | None:
    """The user's calibration, for an image of this size.

    Raises:
        SourceError: The calibration is for an image of another shape.
    """
    if camera is None or (camera.height, camera.width) == (height, width):
        return camera
    if abs(camera.width / camera.height * height / width - 1) > ASPECT_TOLERANCE:
        raise SourceError(
            f'the calibration is for images of {camera.width}x{camera.height}, '
            f'but the source has {width}x{height}; calibrate at the shape that is used'
        )
    return resized(camera, height, width)
