# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Reads `meta.json` beside a recording: the camera of every image, and its scene."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mt_perception.data_files import read_json
from mt_perception.errors import SourceError
from mt_perception.geometry.camera import MAX_FOCAL_PX
from mt_perception.types import Intrinsics

META_FILE = 'meta.json'

_LEAST_FOCAL_PX = 1e-3

Camera = tuple[float, float, float, float]
"""fx, fy, cx, cy in pixels of an image of the recording's width and height."""


@dataclass(frozen=True)
class Recording:
    """Cameras and scenes of a recording.

    Args:
        size: (height, width) in pixels of the images that the cameras belong to.
        camera: the camera of the images that have none of their own; None where it is unknown.
        cameras: image key → camera.
        scenes: image key → name of the place where it was taken.
    """

    size: tuple[int, int]
    camera: Camera | None
    cameras: Mapping[str, Camera] = field(default_factory=dict)
    scenes: Mapping[str, str] = field(default_factory=dict)

    def intrinsics(self, key: str, size: tuple[int, int]) -> Intrinsics | None:
        """Give the camera of an image, for a stored size (height, width); None if unknown."""
        camera = self.cameras.get(key, self.camera)
        if camera is None:
            return None
        height, width = size
        sy, sx = height / self.size[0], width / self.size[1]
        fx, fy, cx, cy = camera
        # Pixel centres lie at whole numbers, so the left edge of an image is at -0.5.
        cx, cy = sx * (cx + 0.5) - 0.5, sy * (cy + 0.5) - 0.5
        return Intrinsics(sx * fx, sy * fy, cx, cy, width, height)


def read_recording(folder: Path) -> Recording | None:
    """Read `meta.json` of a folder; None where there is none.

    Raises:
        SourceError: it cannot be read, or a value is missing or impossible.
    """
    path = folder / META_FILE
    if not path.is_file():
        return None
    data = read_json(path, SourceError)
    try:
        size = int(data['height']), int(data['width'])
        whole = [data.get(name) for name in ('fx', 'fy', 'cx', 'cy')]
        own = data.get('intrinsics', {})
        scenes = {str(key): str(name) for key, name in data.get('scenes', {}).items()}
        recording = Recording(
            size,
            None if None in whole else _camera(whole),
            {str(key): _camera(values) for key, values in own.items()},
            scenes,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SourceError(
            f'{path} does not describe a recording ({error!r}); expected width, height and fx, '
            'fy, cx, cy, or "intrinsics" with these four numbers for each image'
        ) from error
    if min(size) < 1:
        raise SourceError(f'{path}: width and height must be positive, found {size[::-1]}')
    return recording


def _camera(values: Any) -> Camera:
    fx, fy, cx, cy = (float(value) for value in values)
    possible = all(_LEAST_FOCAL_PX < focal < MAX_FOCAL_PX for focal in (fx, fy))
    if not possible or not all(map(math.isfinite, (cx, cy))):
        raise ValueError(f'no camera has fx, fy, cx, cy of {fx:g}, {fy:g}, {cx:g}, {cy:g}')
    return fx, fy, cx, cy
