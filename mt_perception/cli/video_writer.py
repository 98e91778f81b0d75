# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Writes MP4 videos: H.264, which browsers play, or MPEG-4 without PyAV."""

from __future__ import annotations

from fractions import Fraction
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import OutputError

MPEG4 = 'mp4v'
"""The codec that every build of OpenCV has; the builds of PyPI have no H.264."""

_H264 = 'libx264'
_SETTINGS = {'preset': 'veryfast', 'crf': '23'}
_MOST_TICKS = 1001
"""Largest denominator of a frame rate: 30000/1001 is the rate of NTSC."""


class VideoWriter(Protocol):
    """Writes pictures, uint8 (H, W, 3) BGR of one even size, as a video."""

    def write(self, picture: NDArray[np.uint8]) -> None:
        """Add one picture.

        Raises:
            OutputError: It cannot be written.
        """

    def close(self) -> None:
        """Complete the file.

        Raises:
            OutputError: It cannot be written.
        """


def has_h264() -> bool:
    """Whether PyAV is installed and has an encoder for H.264."""
    if find_spec('av') is None:
        return False
    return _H264 in _av().codecs_available


def _av() -> Any:
    return import_module('av')


def video_format() -> str:
    """The codec of videos on this machine, for the summary of a run."""
    if has_h264():
        return 'H.264'
    return 'MPEG-4, which browsers do not play; for H.264: pip install av'


def open_video(path: Path, rate_hz: float, size: tuple[int, int]) -> VideoWriter:
    """Open a video for writing, with the best codec that is installed.

    Args:
        path: The MP4 file.
        rate_hz: Frame rate.
        size: (width, height) in pixels, both even: the codecs halve the colour planes.

    Raises:
        OutputError: The file cannot be opened.
    """
    return (_H264Writer if has_h264() else _Mpeg4Writer)(path, rate_hz, size)


class _H264Writer:
    def __init__(self, path: Path, rate_hz: float, size: tuple[int, int]) -> None:
        av = _av()
        self._path = path
        self._errors = (av.FFmpegError, OSError)
        try:
            # As a file object: FFmpeg takes a relative `12:30/video.mp4` for a protocol.
            self._file = path.open('wb')
            self._container = av.open(self._file, 'w', format='mp4')
            rate = Fraction(rate_hz).limit_denominator(_MOST_TICKS)
            self._stream = self._container.add_stream(_H264, rate=rate, options=_SETTINGS)
        except self._errors as error:
            raise self._failure(error) from error
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = 'yuv420p'
        self._frame = av.VideoFrame

    def write(self, picture: NDArray[np.uint8]) -> None:
        frame = self._frame.from_ndarray(np.ascontiguousarray(picture), format='bgr24')
        try:
            self._container.mux(self._stream.encode(frame))
        except self._errors as error:
            raise self._failure(error) from error

    def close(self) -> None:
        try:
            self._container.mux(self._stream.encode())
            self._container.close()
            self._file.close()
        except self._errors as error:
            raise self._failure(error) from error

    def _failure(self, error: BaseException) -> OutputError:
        return OutputError(f'cannot write {self._path}: {error}; free some space and run again')


class _Mpeg4Writer:
    def __init__(self, path: Path, rate_hz: float, size: tuple[int, int]) -> None:
        self._path = path
        # Absolute: FFmpeg takes a relative `12:30/video.mp4` for a protocol.
        name = str(path.absolute())
        self._writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*MPEG4), rate_hz, size)
        if not self._writer.isOpened():
            raise OutputError(f'cannot write {path}; this OpenCV has no encoder for {MPEG4}')

    def write(self, picture: NDArray[np.uint8]) -> None:
        self._writer.write(picture)

    def close(self) -> None:
        self._writer.release()
        # The writer reports no error; the index of an MP4 is written last.
        if not cv2.VideoCapture(str(self._path)).isOpened():
            raise OutputError(f'{self._path} is incomplete; free some space and run again')
