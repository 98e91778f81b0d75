# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A video file, and a camera device, as sources of frames."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from mt_perception.errors import SourceError
from mt_perception.sources.frame_source import Source, calibrated
from mt_perception.types import Frame, Intrinsics

ASSUMED_RATE_HZ = 30.0


class Video(Source):
    """A video file; rotated films are read upright.

    Stamps are the file's own times plus one period, because 0 stands for an unknown time.

    Args:
        path: The file.
        camera: The camera that took it, if it is known.

    Raises:
        SourceError: OpenCV has no decoder for it, or it holds no picture.
    """

    def __init__(self, path: Path, camera: Intrinsics | None = None) -> None:
        self._capture = _open_file(path)
        if not self._capture.isOpened():
            raise SourceError(
                f'video {path} cannot be opened: no decoder for it, or it is damaged; '
                'convert it to MP4 (H.264 or MPEG-4) or AVI (MJPEG)'
            )
        rate_hz = self._capture.get(cv2.CAP_PROP_FPS)
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # Damaged headers give 0, NaN or 90000 frames per second: none of them is a camera.
        rate_hz = rate_hz if 0.0 < rate_hz <= 1000.0 else ASSUMED_RATE_HZ
        length = int(count) if math.isfinite(count) and 0 < count < 1e9 else None
        super().__init__(path.name, length, rate_hz)
        self._calibration = camera

    def __iter__(self) -> Iterator[Frame]:
        assert self.rate_hz is not None
        period_ns = 1e9 / self.rate_hz
        index, stamp_ns, longest_ns = 0, 0, period_ns
        while True:
            grabbed, image = self._capture.read()
            if not grabbed:
                break
            time_ms = self._capture.get(cv2.CAP_PROP_POS_MSEC)
            own_ns = round(time_ms * 1e6) if math.isfinite(time_ms) else -1
            last_ns = stamp_ns
            # Some containers and older versions of OpenCV have no times: count periods there.
            stamp_ns = own_ns if index == 0 or own_ns > last_ns else round(last_ns + period_ns)
            stamp_ns = max(0, stamp_ns)
            if index:
                longest_ns = max(longest_ns, stamp_ns - last_ns)
            camera = calibrated(self._calibration, *image.shape[:2])
            shown_ns = stamp_ns + round(period_ns)
            yield Frame(image.astype(np.uint8, copy=False), shown_ns, 'camera', camera)
            index += 1
        # A container may only estimate its number of frames. It ended early if its last picture
        # is more than the longest gap before the end that it declares.
        if self.length is not None and index < self.length:
            declared_ns = self.length * period_ns
            if index == 0 or stamp_ns + 1.5 * longest_ns < declared_ns:
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
                raise SourceError(f'{self.name} stopped sending images; was it unplugged?')
            stamp_ns = time.time_ns()
            camera = calibrated(self._calibration, *image.shape[:2])
            yield Frame(image.astype(np.uint8, copy=False), stamp_ns, 'camera', camera)

    def close(self) -> None:
        """Close the device."""
        self._capture.release()


def _open_file(path: Path) -> cv2.VideoCapture:
    """Open a video by FFmpeg where there is one, else by whatever OpenCV has.

    Absolute, because FFmpeg takes ``12:30.mp4`` for a protocol; by FFmpeg alone, because
    OpenCV's reader of numbered images takes ``50%02d.mp4`` for a pattern.
    """
    name = str(path.absolute())
    capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG)
    return capture if capture.isOpened() else cv2.VideoCapture(name)
