# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Temporal filter of depth along the optical flow; the memory of one camera."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.execution.postprocess.depth import NetworkDepth
from mt_perception.image.change import CUT
from mt_perception.image.optical_flow import OpticalFlow, to_flow_image
from mt_perception.image.pyramid import ImagePyramid
from mt_perception.types import Frame

MAX_GAP_S = 0.5
"""Frames farther apart in time are not filtered."""

_GAIN = 0.3
"""Weight of the new frame where the flow agrees."""

_GREY_LEVELS = 12.0
"""Difference of the warped image at which the confidence is a half."""

_AGREEMENT = (1 / (1 + (np.arange(256) / _GREY_LEVELS) ** 2)).astype(np.float32)

_LOG_DEPTH = 0.3
"""Difference of the warped log depth at which the confidence is a half."""

_MOST_SIDE = 128
"""Maximum long side of the images between which flow is computed, in pixels."""


@dataclass(frozen=True, eq=False)
class _Memory:
    """The last frame: what it has to share with the next, its image and filtered log depth."""

    stamp_ns: int
    source: tuple[object, ...]
    grey: NDArray[np.uint8]
    log: NDArray[np.float32]


class DepthFilter:
    """Recursive mean of log depth along the optical flow, at the resolution of the network.

    With the difference d of the new log depth to the last one, warped by the flow,

        filtered = warped + (1 − 0.7 c) d,    c = 1 / (1 + (e / 12)²) · 1 / (1 + (d / 0.3)⁴)

    where e is the difference of the warped image in grey levels. Where image or depth disagree
    (occlusions, moving objects) the new depth is used. Frames without a stamp, of another camera
    or size, more than 0.5 s apart, back in time, or after a scene cut share nothing.
    """

    def __init__(self) -> None:
        self._last: _Memory | None = None

    def filtered(
        self, frame: Frame, network: NetworkDepth, image: ImagePyramid | None = None
    ) -> NetworkDepth:
        """Return the filtered depth of a frame; what is unknown or not positive is unchanged.

        Args:
            frame: The frame.
            network: The depth of the network.
            image: The image and its reductions, if they are there.
        """
        # Padding beside the image has no flow.
        box, shape = network.letterbox, network.values.shape
        rows = -(-shape[0] * box.content_size[0] // box.network_size[0])
        columns = -(-shape[1] * box.content_size[1] // box.network_size[1])
        values = network.values[:rows, :columns]
        with np.errstate(divide='ignore', invalid='ignore'):
            log = np.log(values)
        source = frame.frame_id, network.camera, network.relative, box, shape
        # Of the size of the output where possible: both then have the same positions.
        grey = to_flow_image(
            frame.image if image is None else image, min(_MOST_SIDE, max(log.shape))
        )
        last = self._last
        self._last = _Memory(frame.stamp_ns, source, grey, log)
        if last is None or not last.stamp_ns or source != last.source:
            return network
        gap_s = (frame.stamp_ns - last.stamp_ns) * 1e-9
        if not 0 < gap_s <= MAX_GAP_S or cv2.mean(cv2.absdiff(grey, last.grey))[0] > CUT:
            return network
        blended = _blend(last, grey, log)
        known = np.isfinite(blended)
        np.copyto(blended, log, where=~known)
        self._last = _Memory(frame.stamp_ns, source, grey, blended)
        found = network.values.copy()
        np.copyto(found[:rows, :columns], cv2.exp(blended), where=known)
        return replace(network, values=found)


def _blend(
    last: _Memory, grey: NDArray[np.uint8], log: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The filtered log depth; not finite where either frame has none."""
    motion = OpticalFlow(last.grey, grey)
    error = cv2.absdiff(grey, np.asarray(motion.interpolate_map(last.grey), np.uint8))
    weight = cv2.LUT(cv2.blur(error, (3, 3)), _AGREEMENT)
    if weight.shape != log.shape:
        weight = cv2.resize(weight, log.shape[::-1])
    warped = motion.interpolate_map(last.log)
    with np.errstate(invalid='ignore', over='ignore'):
        step = log - warped
        # In place: warped + (1 - (1 - gain) weight / (1 + (step / 0.3)⁴)) step.
        square = np.square(step * np.float32(1 / _LOG_DEPTH))
        square *= square
        square += 1
        np.divide(weight, square, out=square)
        square *= np.float32(_GAIN - 1)
        square += 1
        square *= step
        square += warped
    return np.asarray(square, np.float32)
