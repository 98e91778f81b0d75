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
from mt_perception.image.optical_flow import FlowSearch, OpticalFlow
from mt_perception.image.pyramid import resized
from mt_perception.types import Frame

MAX_GAP_S = 0.5
"""Frames farther apart in time are not filtered."""

_GAIN = 0.3
"""Weight of the new frame where the flow agrees."""

_GREY_LEVELS = 12.0
"""Difference of the warped image at which the confidence is a half."""

_LOG_DEPTH = 0.3
"""Difference of the warped log depth at which the confidence is a half."""

_MOST_SIDE = 128
"""Maximum long side of the images between which flow is computed, in pixels."""

_STILL_LEVELS = 2.0
"""Mean difference of two images, in grey levels, below which no flow is computed.

Of a fixed camera it is about 1, the noise and what moves; of a hand-held one at least 2.5.
"""

_SMALLEST, _LARGEST = 1e-30, 1e30
"""Depths for which ``cv2.log`` is right; it takes a third of the time of numpy's."""


@dataclass(frozen=True, eq=False)
class _Memory:
    """The last frame: its stamp and source, its image and its filtered log depth."""

    stamp_ns: int
    source: tuple[object, ...]
    search: FlowSearch
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
        self, frame: Frame, network: NetworkDepth, image: NDArray[np.uint8] | None = None
    ) -> NetworkDepth:
        """Return the filtered depth of a frame; what is unknown or not positive is unchanged.

        Args:
            frame: The frame.
            network: The depth of the network.
            image: uint8 (h, w, 3), the network's input; None makes it of the frame.
        """
        # Padding beside the image has no flow.
        box, shape = network.letterbox, network.values.shape
        rows = -(-shape[0] * box.content_size[0] // box.network_size[0])
        columns = -(-shape[1] * box.content_size[1] // box.network_size[1])
        log = _log(network.values[:rows, :columns])
        image = box.network_image(frame.image, 0)[0] if image is None else image
        grey = _grey(image, (rows, columns), shape)
        source = frame.frame_id, network.camera, network.relative, box, shape
        last = self._last
        if last is None or not last.stamp_ns or source != last.source:
            self._last = _Memory(frame.stamp_ns, source, FlowSearch(), grey, log)
            return network
        self._last = replace(last, stamp_ns=frame.stamp_ns, grey=grey, log=log)
        gap_s = (frame.stamp_ns - last.stamp_ns) * 1e-9
        change = cv2.mean(cv2.absdiff(grey, last.grey))[0]
        if not 0 < gap_s <= MAX_GAP_S or change > CUT:
            return network
        blended = _blend(last, grey, log, change >= _STILL_LEVELS)
        found = network.values.copy()
        inside = found[:rows, :columns]
        if cv2.checkRange(blended)[0]:
            inside[:] = cv2.exp(blended)
        else:
            known = np.isfinite(blended)
            np.copyto(blended, log, where=~known)
            np.copyto(inside, cv2.exp(blended), where=known)
        self._last = replace(self._last, log=blended)
        return replace(network, values=found)


def _log(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logarithm; not finite where a value is not finite or not positive."""
    if cv2.checkRange(values, minVal=_SMALLEST, maxVal=_LARGEST)[0]:
        return np.asarray(cv2.log(values), np.float32)
    with np.errstate(divide='ignore', invalid='ignore'):
        return np.log(values)


def _grey(
    image: NDArray[np.uint8], cells: tuple[int, int], output: tuple[int, ...]
) -> NDArray[np.uint8]:
    """The part of a network's input that cells of its output cover, reduced to their size.

    Args:
        image: uint8 (h, w, 3), the network's input.
        cells: (rows, columns) of the cells; more than 128 are reduced further.
        output: (rows, columns) of the output.
    """
    height, width = (
        min(side, side * count // whole)
        for side, count, whole in zip(image.shape, cells, output, strict=False)
    )
    shrink = min(1.0, _MOST_SIDE / max(cells))
    rows, columns = (max(1, round(count * shrink)) for count in cells)
    small = resized(image[:height, :width], rows, columns)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)


def _blend(
    last: _Memory, grey: NDArray[np.uint8], log: NDArray[np.float32], moves: bool
) -> NDArray[np.float32]:
    """The filtered log depth; not finite where either frame has none."""
    before, warped = last.grey.astype(np.float32), last.log
    if moves:
        motion = OpticalFlow(last.grey, grey, last.search)
        before, warped = (np.asarray(motion.interpolate_map(one)) for one in (before, warped))
    blurred = cv2.blur(cv2.absdiff(before, grey.astype(np.float32)), (3, 3))
    if blurred.shape != log.shape:
        blurred = cv2.resize(blurred, log.shape[::-1])
    error = np.asarray(blurred, np.float32)
    with np.errstate(invalid='ignore', over='ignore'):
        step = log - warped
        # In place: warped + (1 - (1 - gain) / (1 + (step / 0.3)⁴) / (1 + (error / 12)²)) step.
        error *= error
        error *= np.float32(1 / _GREY_LEVELS**2)
        error += 1
        square = step * step
        square *= square
        square *= np.float32(1 / _LOG_DEPTH**4)
        square += 1
        square *= error
        np.divide(np.float32(_GAIN - 1), square, out=square)
        square += 1
        square *= step
        square += warped
    return square
