# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A network camera or a GStreamer pipeline as a source of frames."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import SourceError
from mt_perception.sources.frame_source import Source, calibrated
from mt_perception.types import Frame, Intrinsics

_URL = re.compile(r'(https?|rtsps?|rtmps?|rtp|srtp?|udp|tcp|mms)://', re.IGNORECASE)
_PASSWORD = re.compile(r'(://[^:/@]*):[^@/]*@')

OPEN_TIMEOUT_MS = 10_000
READ_TIMEOUT_MS = 10_000

RECONNECT_S = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses before the attempts to open a stream again that broke off."""

# OpenCV returns from a silent host after its time-out.
_LONGEST_CALL_S = max(OPEN_TIMEOUT_MS, READ_TIMEOUT_MS) / 1000 + 1.0


class Stream(Source):
    """Frames of an HTTP, RTSP, RTMP or UDP stream, or of a GStreamer pipeline.

    A thread reads the stream, and the newest frame is delivered: a slow consumer skips frames
    instead of falling behind. A stream that breaks off is opened again; it ends, with a note,
    when all attempts fail. Stamps are the wall clock's at reception.

    Args:
        url: An URL, or a GStreamer pipeline with elements separated by ``!``.
        camera: The camera's calibration, if it is known.

    Attributes:
        reconnections: Number of times that the stream broke off and was opened again.

    Raises:
        SourceError: Nothing answers, or OpenCV cannot decode the stream.
    """

    def __init__(self, url: str, camera: Intrinsics | None = None) -> None:
        self._url = url
        name = _PASSWORD.sub(r'\1:***@', url)
        self._capture = _open(url)
        if not self._capture.isOpened():
            raise SourceError(_why_closed(url, name))
        super().__init__(name, None, None)
        self.reconnections = 0
        self._calibration = camera
        self._news = threading.Condition()
        self._newest: tuple[NDArray[np.uint8], int] | None = None
        self._closed = False
        self._ended = False
        self._thread: threading.Thread | None = None

    def __iter__(self) -> Iterator[Frame]:
        if self._thread is None:
            self._thread = threading.Thread(target=self._read, name='stream', daemon=True)
            self._thread.start()
        while True:
            with self._news:
                self._news.wait_for(lambda: self._newest or self._ended or self._closed)
                newest, self._newest = self._newest, None
            if newest is None:
                return
            image, stamp_ns = newest
            camera = calibrated(self._calibration, *image.shape[:2])
            yield Frame(image, stamp_ns, 'camera', camera)

    def close(self) -> None:
        """Close the stream; may be called twice."""
        with self._news:
            self._closed = True
            self._news.notify_all()
        if self._thread is None:
            self._capture.release()
        else:
            # A thread that is inside OpenCV when the interpreter ends would abort the process.
            self._thread.join(_LONGEST_CALL_S)

    def _read(self) -> None:
        """Read until closed; the thread's loop."""
        try:
            while not self._closed:
                grabbed, image = self._capture.read()
                if grabbed:
                    with self._news:
                        self._newest = np.asarray(image, np.uint8), time.time_ns()
                        self._news.notify_all()
                elif not self._reconnect():
                    break
        finally:
            self._capture.release()
            if self.reconnections:
                self.notes.append(f'{self.name} broke off {self.reconnections} times')
            with self._news:
                self._ended = True
                self._news.notify_all()

    def _reconnect(self) -> bool:
        """Open the stream again; False when all attempts failed or the source was closed."""
        self._capture.release()
        for pause_s in RECONNECT_S:
            with self._news:
                if self._news.wait_for(lambda: self._closed, pause_s):
                    return False
            self._capture = _open(self._url)
            if self._capture.isOpened():
                self.reconnections += 1
                return True
        self.notes.append(f'{self.name} broke off and did not come back in {sum(RECONNECT_S):g} s')
        return False


def is_stream(text: str) -> bool:
    """Whether this is a URL or a GStreamer pipeline, and no file."""
    return _URL.match(text) is not None or ' ! ' in text


def _open(url: str) -> Any:
    if ' ! ' in url:
        return cv2.VideoCapture(url, cv2.CAP_GSTREAMER)
    limits = []
    # OpenCV before 4.5.2 waits 30 s and has no option for it.
    for option, value in (('OPEN', OPEN_TIMEOUT_MS), ('READ', READ_TIMEOUT_MS)):
        code = getattr(cv2, f'CAP_PROP_{option}_TIMEOUT_MSEC', None)
        if code is not None:
            limits += [code, value]
    return cv2.VideoCapture(url, cv2.CAP_FFMPEG, limits)


def _why_closed(url: str, name: str) -> str:
    if ' ! ' in url:
        if not cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
            return (
                f'the pipeline {name} cannot run: this OpenCV is built without GStreamer; install '
                "the distribution's python3-opencv in place of pip's"
            )
        return f'the pipeline {name} does not start; expected one that ends in "! appsink"'
    return (
        f'stream {name} cannot be opened within {OPEN_TIMEOUT_MS / 1000:g} s; check the address, '
        'the user and password in it, and that the camera is on'
    )
