# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a source of frames is: something to iterate over once, that knows what it refused."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from types import TracebackType

from mt_perception.errors import SourceError
from mt_perception.geometry.camera import resized
from mt_perception.types import Frame, Intrinsics

ASPECT_TOLERANCE = 0.02


class Source(ABC):
    """Frames from a folder, a video, a camera or a bag, in the order of their stamps.

    Iterate over it inside ``with``. What cannot be read is left out and counted; what comes
    after it is still delivered.

    Attributes:
        name: What a person calls it: the file's, device's or topic's name.
        length: Number of frames to expect, None where it is unknown (a live camera).
        rate_hz: Frames per second of the recording, None where it has none (a folder).
        rejects: Reason → number of images that were left out, or that go without intrinsics
            because their camera_info is faulty.
    """

    def __init__(self, name: str, length: int | None, rate_hz: float | None) -> None:
        self.name = name
        self.length = length
        self.rate_hz = rate_hz
        self.rejects: Counter[str] = Counter()

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Deliver the frames.

        Raises:
            SourceError: The source as a whole became unreadable.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of files and devices; may be called twice."""

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def calibrated(camera: Intrinsics | None, height: int, width: int) -> Intrinsics | None:
    """A calibration that the user gave, for an image of this size.

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
