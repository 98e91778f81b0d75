# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A video file, and a live camera device, as sources of frames."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from mt_perception.errors import SourceError
from mt_perception.sources.source import Source, calibrated
from mt_perception.types import Frame, Intrinsics

ASSUMED_RATE_HZ = 30.0


class Video(Source):
    """A video file; stamps count from 0 at the file's own rate.

    Args:
        path: The file.
        camera: The camera that took it, if it is known.

    Raises:
        SourceError: OpenCV has no decoder for it, or it holds no picture.
    """

    def __init__(self, path: Path, camera: Intrinsics | None = None) -> None:
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise SourceError(
                f'video {path} cannot be opened: no decoder for it, or it is damaged; '
                'convert it to MP4 (H.264 or MPEG-4) or AVI (MJPEG)'
            )
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        # Damaged headers give 0, NaN or 90000 frames per second: none of them is a camera.
        rate_hz = rate_hz if 0.0 < rate_hz <= 1000.0 else ASSUMED_RATE_HZ
        super().__init__(path.name, count if count > 0 else None, rate_hz)
        self._period_ns = 1e9 / rate_hz
        self._calibration = camera

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while True:
            grabbed, image = self._capture.read()
            if not grabbed:
                break
            stamp_ns = round(index * self._period_ns)
            camera = calibrated(self._calibration, *image.shape[:2])
            yield Frame(image.astype(np.uint8, copy=False), stamp_ns, 'camera', camera)
            index += 1
        if self.length is not None and index < self.length:
            # The container promises more pictures than the decoder gave: count what is missing.
            self.rejects['undecodable_video_frame'] += self.length - index

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class Camera(Source):
    """A camera on this computer; stamps are the wall clock's, and the newest frame is delivered.

    Args:
        device: A path such as ``/dev/video0``, or the number of the device.
        camera: The camera's calibration, if it is known.

    Raises:
        SourceError: The device is not there, is in use or gives no picture.
    """

    def __init__(self, device: str | int, camera: Intrinsics | None = None) -> None:
        self._capture = cv2.VideoCapture(device)
        # The driver's queue would deliver pictures that are several periods old.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        if not self._capture.isOpened():
            raise SourceError(
                f'camera {device} cannot be opened; check that it is plugged in, that no other '
                'program uses it and that you may read it (group "video")'
            )
        super().__init__(f'camera {device}', None, None)
        self._calibration = camera

    def __iter__(self) -> Iterator[Frame]:
        while True:
            grabbed, image = self._capture.read()
            if not grabbed:
                raise SourceError(f'{self.name} stopped sending pictures; was it unplugged?')
            stamp_ns = time.time_ns()
            camera = calibrated(self._calibration, *image.shape[:2])
            yield Frame(image.astype(np.uint8, copy=False), stamp_ns, 'camera', camera)

    def close(self) -> None:
        """Let go of the device."""
        self._capture.release()
