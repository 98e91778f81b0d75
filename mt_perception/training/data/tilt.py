# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Turns the camera of an RGB-D image: pitch and roll about the optical centre."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

_Scalar = TypeVar('_Scalar', np.uint8, np.float32)


@dataclass(frozen=True)
class Tilt:
    """A rotation of the camera; images keep their size, and parts of them leave the view.

    Args:
        rotation: (3, 3) from the camera before to the camera afterwards; None changes nothing.
        focal_px: focal length in pixels of the stored image; its centre is the principal point.
        size: (height, width) of the stored image.
    """

    rotation: NDArray[np.float64] | None
    focal_px: float
    size: tuple[int, int]

    def image(self, image: NDArray[np.uint8], border: int) -> NDArray[np.uint8]:
        """Turn an image (H, W, 3)."""
        return self._warp(image, cv2.INTER_LINEAR, (border,) * 3)

    def map(self, values: NDArray[_Scalar], border: float) -> NDArray[_Scalar]:
        """Turn a map that is stretched over the image; pixels without a source are `border`."""
        if self.rotation is None:
            return values
        if values.shape == (1, 1):
            values = np.full(self.size, values[0, 0])
        return self._warp(values, cv2.INTER_NEAREST, (border,))

    def depth(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn depth along the optical axis, which is measured along the new axis afterwards."""
        if self.rotation is None:
            return depth
        moved = self.map(depth, 0)
        matrix = self._camera(depth.shape)
        rows, columns = np.indices(depth.shape, np.float64)
        rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1) @ np.linalg.inv(matrix).T
        # A point on the ray r, z = 1 in the new camera, has z = (Rᵀ r)₃ in the old one.
        old = rays @ self.rotation[:, 2]
        return np.where(old > 0, moved / np.maximum(old, 1e-6), 0).astype(np.float32)

    def _warp(
        self, values: NDArray[_Scalar], how: int, border: tuple[float, ...]
    ) -> NDArray[_Scalar]:
        if self.rotation is None:
            return values
        camera = self._camera(values.shape[:2])
        matrix = camera @ self.rotation @ np.linalg.inv(camera)
        size = (values.shape[1], values.shape[0])
        warped = cv2.warpPerspective(values, matrix, size, flags=how, borderValue=border)
        return np.asarray(warped, values.dtype)

    def _camera(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the camera matrix of a map that is stretched over the image."""
        height, width = shape
        fx = self.focal_px * width / self.size[1]
        fy = self.focal_px * height / self.size[0]
        return np.array([[fx, 0, (width - 1) / 2], [0, fy, (height - 1) / 2], [0, 0, 1]])


def random_tilt(
    most_deg: float, focal_px: float | None, size: tuple[int, int], rng: np.random.Generator
) -> Tilt:
    """Draw pitch and roll, uniformly up to `most_deg` each."""
    if not most_deg or focal_px is None:
        return Tilt(None, 0.0, size)
    pitch, roll = np.radians(rng.uniform(-most_deg, most_deg, 2))
    about_x, _ = cv2.Rodrigues(np.array([pitch, 0.0, 0.0]))
    about_z, _ = cv2.Rodrigues(np.array([0.0, 0.0, roll]))
    return Tilt(np.asarray(about_z @ about_x, np.float64), focal_px, size)
