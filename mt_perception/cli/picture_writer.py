# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes pictures and a video of results beside the input."""

from __future__ import annotations

import re
from contextlib import suppress

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.cli.video_writer import VideoWriter, open_video
from mt_perception.errors import OutputError
from mt_perception.evaluation.output import OutputFolder, writing

VIDEO = 'video.mp4'
FILES = (r'frame_\d{6}\.png', re.escape(VIDEO))
"""Patterns of the names of the written files."""


class PictureWriter:
    """Writes numbered PNG pictures and one MP4 video into a folder; use it in ``with``.

    Args:
        output: The output folder.
        every: Save a picture of every n-th frame; 0 saves none.
        rate_hz: Frame rate of the video, or None for no video.

    Attributes:
        saved: Number of pictures.
    """

    def __init__(self, output: OutputFolder, every: int, rate_hz: float | None) -> None:
        self._output = output
        self._every = every
        self._rate_hz = rate_hz
        self._writer: VideoWriter | None = None
        self._size = (0, 0)
        self._frames = 0
        self.saved = 0

    @property
    def next_is_wanted(self) -> bool:
        """Whether the next frame needs a picture, so that no other is drawn."""
        return self._rate_hz is not None or self._next_is_saved

    @property
    def _next_is_saved(self) -> bool:
        return self._every > 0 and self._frames % self._every == 0

    def skip(self) -> None:
        """Count a frame without a picture."""
        self._frames += 1

    def add(self, picture: NDArray[np.uint8]) -> None:
        """Save one of every n pictures, and add it to the video.

        Args:
            picture: uint8 (H, W, 3) BGR.

        Raises:
            OutputError: It cannot be written, for example on a full disk.
        """
        if self._next_is_saved:
            path = self._output.file(f'frame_{self._frames:06d}.png')
            with writing(path):
                # Not cv2.imwrite, which reports success on a full disk.
                path.write_bytes(cv2.imencode('.png', picture)[1].tobytes())
            self.saved += 1
        if self._rate_hz is not None:
            self._add_to_video(picture, self._rate_hz)
        self._frames += 1

    def _add_to_video(self, picture: NDArray[np.uint8], rate_hz: float) -> None:
        if self._writer is None:
            # The codecs halve the colour planes, so they need even sizes.
            self._size = (picture.shape[1] // 2 * 2, picture.shape[0] // 2 * 2)
            self._writer = open_video(self._output.file(VIDEO), rate_hz, self._size)
        if (picture.shape[1], picture.shape[0]) != self._size:
            # A video has one size, but a camera may change its size.
            picture = np.asarray(cv2.resize(picture, self._size), np.uint8)
        self._writer.write(picture)

    def close(self) -> None:
        """Complete the video.

        Raises:
            OutputError: The video is incomplete, for example on a full disk.
        """
        if self._writer is None:
            return
        writer, self._writer = self._writer, None
        writer.close()

    def __enter__(self) -> PictureWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        elif self._writer is not None:
            # The error that ends the run is more useful than that of an incomplete video.
            with suppress(OutputError):
                self._writer.close()
