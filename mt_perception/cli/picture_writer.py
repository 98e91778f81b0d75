# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Pictures and a video of what came out, side by side with the input."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import OutputError

VIDEO = 'video.mp4'
# MPEG-4 is what every build of OpenCV can write; H.264 is in none of pip's.
CODEC = 'mp4v'


class Pictures:
    """Writes numbered PNG pictures and one MP4 video into a folder.

    Args:
        folder: The folder; is made. Pictures and video of an earlier run in it are replaced.
        every: Save a picture of every n-th frame; 0 saves none.
        rate_hz: Frame rate of the video, or None for no video.

    Raises:
        OutputError: The folder cannot be written.
    """

    def __init__(self, folder: Path, every: int, rate_hz: float | None) -> None:
        self._folder = folder
        self._every = every
        self._rate_hz = rate_hz
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._seen = 0
        self.saved = 0
        prepare_folder(folder)

    @property
    def next_is_wanted(self) -> bool:
        """Whether the next frame is shown at all, so that no picture is drawn in vain."""
        return self._rate_hz is not None or self._next_is_saved

    @property
    def _next_is_saved(self) -> bool:
        return self._every > 0 and self._seen % self._every == 0

    def skip(self) -> None:
        """Count a frame of which no picture is wanted."""
        self._seen += 1

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Save one picture where it is its turn, and add it to the video.

        Args:
            picture: uint8 (H, W, 3) BGR.

        Raises:
            OutputError: It cannot be written; the disk may be full.
        """
        if self._next_is_saved:
            path = self._folder / f'frame_{self._seen:06d}.png'
            if not cv2.imwrite(str(path), picture):
                raise OutputError(f'cannot write {path}; is the disk full?')
            self.saved += 1
        if self._rate_hz is not None:
            self._add_to_video(picture, self._rate_hz)
        self._seen += 1

    def _add_to_video(self, picture: NDArray[np.uint8], rate_hz: float) -> None:
        if self._writer is None:
            # The codec halves the colour planes, so it wants even sizes.
            self._size = (picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2)
            path = self._folder / VIDEO
            codec = cv2.VideoWriter.fourcc(*CODEC)
            # Absolute: FFmpeg takes a relative `12:30/video.mp4` for a protocol.
            self._writer = cv2.VideoWriter(str(path.absolute()), codec, rate_hz, self._size)
            if not self._writer.isOpened():
                raise OutputError(f'cannot write {path}; this OpenCV has no encoder for {CODEC}')
        if (picture.shape[1], picture.shape[0]) != self._size:
            # A video has one size, but a camera may change its own in mid-stream.
            picture = np.asarray(cv2.resize(picture, self._size), np.uint8)
        self._writer.write(picture)

    def close(self) -> None:
        """Finish the video."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None

    def __enter__(self) -> Pictures:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def prepare_folder(folder: Path) -> None:
    """Make a folder for pictures, and remove those of an earlier run.

    Raises:
        OutputError: It cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            if re.fullmatch(r'frame_\d{6}\.png', old.name) or old.name == VIDEO:
                old.unlink()
    except OSError as error:
        raise OutputError(f'cannot write to {folder}: {error.strerror}') from error
