# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Opening a source of frames by its name."""

from __future__ import annotations

import os
from pathlib import Path

from mt_perception.errors import SourceError
from mt_perception.image.read import IMAGE_SUFFIXES
from mt_perception.sources.bag import Bag
from mt_perception.sources.bag_reader import is_bag_file
from mt_perception.sources.frame_source import Source
from mt_perception.sources.image_folder import ImageFolder
from mt_perception.sources.stream import Stream, is_stream
from mt_perception.sources.video import Camera, Video
from mt_perception.types import Intrinsics


def open_source(
    name: str | Path, topic: str | None = None, camera: Intrinsics | None = None
) -> Source:
    """Open images, a video, a camera, a stream or a bag.

    Args:
        name: A folder of images, an image, a video file, a ROS 1 or ROS 2 bag, a camera device
            (``/dev/video0``) or its number (``0``), a URL (``rtsp://…``, ``http://…``), or a
            GStreamer pipeline (``v4l2src ! videoconvert ! appsink``).
        topic: For a bag, the image topic.
        camera: The camera; takes the place of the calibration in the source.

    Returns:
        The source; close it, or use it in ``with``.

    Raises:
        SourceError: There is no such thing, or it cannot be read.
        BagError: The same, for a bag.

    Example:
        >>> import tempfile
        >>> import cv2, numpy as np
        >>> from mt_perception import open_source
        >>> folder = tempfile.mkdtemp()
        >>> _ = cv2.imwrite(f'{folder}/a.png', np.zeros((48, 64, 3), np.uint8))
        >>> [frame.image.shape for frame in open_source(folder)]
        [(48, 64, 3)]
    """
    text = str(name)
    if not text.strip():
        raise SourceError('the name of the source is empty; is a variable of the shell not set?')
    path = Path(os.path.expanduser(text))
    if is_stream(text) and not os.path.exists(path):
        if topic is not None:
            raise SourceError(f'{text} is a stream, and only a bag has topics; omit the topic')
        return Stream(text, camera)
    if text.isdecimal() and not os.path.exists(path):
        return Camera(int(text), camera)
    if not os.path.exists(path):
        raise SourceError(
            f'{text} does not exist; expected a folder of images, a video, a bag, '
            'a camera such as /dev/video0 or 0, or a URL such as rtsp://host/path'
        )
    if path.is_char_device():
        return Camera(text, camera)
    if is_bag(path):
        return Bag(path, topic, camera)
    if topic is not None:
        raise SourceError(f'{text} is not a bag, and only a bag has topics; omit the topic')
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageFolder(path, camera)
    return Video(path, camera)


def is_bag(path: Path) -> bool:
    """Whether this is a recording: a bag file, a rosbag2 folder, or a folder of its parts."""
    if path.is_dir():
        if (path / 'metadata.yaml').is_file():
            return True
        files = list(path.iterdir())
        images = any(file.suffix.lower() in IMAGE_SUFFIXES for file in files)
        return not images and any(is_bag_file(file) for file in files)
    return is_bag_file(path)
