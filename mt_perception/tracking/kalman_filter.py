# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Kalman filters of many boxes at once, with constant velocity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_POSITION_NOISE = 1 / 20
"""Standard deviation of a measured side or centre, relative to the box's height (SORT)."""

_ACCELERATION_NOISE = 1.0
"""Standard deviation of the acceleration, in box heights per second squared."""

_FIRST_SPEED = 1.0
"""Standard deviation of a new box's unknown velocity, in box heights per second."""


@dataclass(frozen=True, eq=False)
class BoxStates:
    """States of N boxes: centre x, centre y, width and height, each with its velocity.

    The four quantities of a box are independent of each other, so each has a 2 × 2 covariance.

    Attributes:
        mean: float64 (N, 4, 2): value in pixels, velocity in pixels per second.
        covariance: float64 (N, 4, 2, 2).
    """

    mean: Array
    covariance: Array

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, index: NDArray[np.intp] | NDArray[np.bool_]) -> BoxStates:
        return BoxStates(self.mean[index], self.covariance[index])

    @property
    def boxes(self) -> NDArray[np.float32]:
        """The boxes, float32 (N, 4): x0, y0, x1, y1 in pixels."""
        centre, half = self.mean[:, :2, 0], np.maximum(self.mean[:, 2:, 0], 1.0) / 2
        return np.concatenate([centre - half, centre + half], axis=1).astype(np.float32)

    @property
    def _heights(self) -> Array:
        return np.maximum(self.mean[:, 3, 0], 1.0)

    def predicted(self, seconds: float) -> BoxStates:
        """Return the states after some time without a measurement."""
        step = np.array([[1.0, seconds], [0.0, 1.0]])
        # Piecewise constant acceleration.
        gain = np.array([seconds**2 / 2, seconds])
        noise = (_ACCELERATION_NOISE * self._heights) ** 2
        covariance = step @ self.covariance @ step.T
        covariance = covariance + noise[:, None, None, None] * np.outer(gain, gain)
        return BoxStates(self.mean @ step.T, covariance)

    def updated(self, boxes: NDArray[np.float32]) -> BoxStates:
        """Return the states after a measurement of every box, (N, 4): x0, y0, x1, y1."""
        measured = _quantities(boxes)
        noise = ((_POSITION_NOISE * self._heights) ** 2)[:, None]
        variance = self.covariance[..., 0, 0] + noise
        gain = self.covariance[..., 0] / variance[..., None]
        mean = self.mean + gain * (measured - self.mean[..., 0])[..., None]
        covariance = self.covariance - gain[..., None] * self.covariance[..., None, 0, :]
        return BoxStates(mean, covariance)

    def joined(self, other: BoxStates) -> BoxStates:
        """Return these states and those of other boxes behind them."""
        return BoxStates(
            np.concatenate([self.mean, other.mean]),
            np.concatenate([self.covariance, other.covariance]),
        )


def new_states(boxes: NDArray[np.float32]) -> BoxStates:
    """Return the states of boxes that are measured for the first time, (N, 4): x0, y0, x1, y1."""
    measured = _quantities(boxes)
    mean = np.stack([measured, np.zeros_like(measured)], axis=-1)
    height = np.maximum(measured[:, 3], 1.0)
    covariance = np.zeros((len(boxes), 4, 2, 2))
    covariance[..., 0, 0] = ((_POSITION_NOISE * height) ** 2)[:, None]
    covariance[..., 1, 1] = ((_FIRST_SPEED * height) ** 2)[:, None]
    return BoxStates(mean, covariance)


def _quantities(boxes: NDArray[np.float32]) -> Array:
    """Return centre x, centre y, width and height of boxes, float64 (N, 4)."""
    low, high = boxes[:, :2].astype(np.float64), boxes[:, 2:].astype(np.float64)
    return np.concatenate([(low + high) / 2, high - low], axis=1)
