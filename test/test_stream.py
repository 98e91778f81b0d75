# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Network cameras: a stream is read, opened again when it breaks off, and refused in words."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np
import pytest

from mt_perception.errors import SourceError
from mt_perception.sources import open_source, stream
from mt_perception.sources.stream import Stream, is_stream


class Camera(ThreadingHTTPServer):
    """An MJPEG camera on this machine; ``images`` is how many a connection gets."""

    daemon_threads = True

    def __init__(self, images: int) -> None:
        super().__init__(('127.0.0.1', 0), _Handler)
        self.images = images
        self.connections = 0

    @property
    def url(self) -> str:
        return f'http://127.0.0.1:{self.server_address[1]}/video.mjpg'


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        camera = self.server
        assert isinstance(camera, Camera)
        camera.connections += 1
        self.send_response(200)
        self.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=f')
        self.end_headers()
        jpeg = cv2.imencode('.jpg', np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
        part = b'--f\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n' % len(jpeg)
        try:
            for _ in range(camera.images):
                self.wfile.write(part + jpeg + b'\r\n')
                time.sleep(0.005)
        except OSError:
            pass


@pytest.fixture
def camera() -> Iterator[Camera]:
    server = Camera(200)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_network_camera_gives_frames(camera: Camera) -> None:
    with open_source(camera.url) as source:
        frames = [frame for frame, _ in zip(source, range(5), strict=False)]
    assert [frame.image.shape for frame in frames] == [(48, 64, 3)] * 5
    stamps = [frame.stamp_ns for frame in frames]
    assert stamps == sorted(stamps)
    assert source.length is None


def test_closing_waits_for_the_thread(camera: Camera) -> None:
    with open_source(camera.url) as source:
        next(iter(source))
    assert not [thread for thread in threading.enumerate() if thread.name == 'stream']


def test_a_stream_that_breaks_off_is_opened_again_and_ends_with_a_note(
    camera: Camera, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, 'RECONNECT_S', (0.0,))
    camera.images = 10
    source = Stream(camera.url)
    frames = 0
    for _ in source:
        frames += 1
        if camera.connections >= 3:
            camera.shutdown()
            camera.server_close()
            break
    assert frames > 0
    assert source.reconnections >= 1
    assert not source.rejects
    list(source)
    source.close()
    assert any('did not come back' in note for note in source.notes)


def test_nobody_there_is_one_sentence_without_the_password() -> None:
    with pytest.raises(SourceError, match=r'rtsp://me:\*\*\*@127') as caught:
        open_source('rtsp://me:secret@127.0.0.1:9/x')
    assert 'secret' not in str(caught.value)


def test_a_pipeline_without_gstreamer_says_so() -> None:
    with pytest.raises(SourceError, match='pipeline'):
        open_source('nosuchelement ! appsink')


def test_a_stream_has_no_topic(camera: Camera) -> None:
    with pytest.raises(SourceError, match='only a bag has topics'):
        open_source(camera.url, topic='/image')


def test_what_is_a_stream() -> None:
    assert is_stream('RTSP://host/x')
    assert is_stream('v4l2src ! appsink')
    assert not is_stream('rtsp.mp4')
    assert not is_stream('2026-01-02T12:30:00.mp4')
