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
from mt_perception.types import Frame

MAX_GAP_S = 0.5
"""Frames farther apart in time are not filtered."""

_GAIN = 0.3
"""Weight of the new frame where the flow agrees."""

_GREY_LEVELS = 12.0
"""Difference of the warped image at which the confidence is a half."""

_LOG_DEPTH = 0.3
"""Difference of the warped log depth at which the confidence is a half."""

_MOST_SIDE = 52
"""Maximum long side of the maps that are filtered, in cells; the correction is enlarged."""

_STILL_LEVELS = 2.0
"""Mean difference of two images, in grey levels, below which no flow is computed.

Of a fixed camera it is about 1, the noise and what moves; of a hand-held one at least 2.5.
"""

_SMALLEST, _LARGEST = 1e-30, 1e30
"""Depths for which ``cv2.log`` is right; it takes a third of the time of numpy's."""


@dataclass(frozen=True, eq=False)
class _Memory:
    """The last frame.

    Attributes:
        stamp_ns: Its stamp.
        source: What frames that share something have in common.
        search: The search for flow between frames of this size.
        grey: uint8 (h, w), its image.
        maps: float32 (h, w, 2), its filtered log depth, and its image.
    """

    stamp_ns: int
    source: tuple[object, ...]
    search: FlowSearch
    grey: NDArray[np.uint8]
    maps: NDArray[np.float32]


class DepthFilter:
    """Recursive mean of log depth along the optical flow, on maps of at most 52 cells.

    With the difference d of the new log depth to the last one, warped by the flow,

        filtered = new − 0.7 c d,    c = 1 / (1 + (e / 12)²) · 1 / (1 + (d / 0.3)⁴)

    where e is the difference of the warped image in grey levels. Where image or depth disagree
    (occlusions, moving objects) the new depth is used. The correction −0.7 c d is enlarged to the
    network's resolution. Frames without a stamp, of another camera or size, more than 0.5 s apart,
    back in time, or after a scene cut share nothing.
    """

    def __init__(self) -> None:
        self._last: _Memory | None = None

    def filtered(
        self, frame: Frame, network: NetworkDepth, image: NDArray[np.uint8] | None = None
    ) -> NetworkDepth:
        """Return the filtered depth of a frame; what is unknown or not positive stays so.

        Args:
            frame: The frame.
            network: The depth of the network.
            image: uint8 (h, w, 3), the network's input; None makes it of the frame.
        """
        # Padding beside the image has no flow.
        box, shape = network.letterbox, network.values.shape
        rows = -(-shape[0] * box.content_size[0] // box.network_size[0])
        columns = -(-shape[1] * box.content_size[1] // box.network_size[1])
        image = box.network_image(frame.image, 0)[0] if image is None else image
        grey = _grey(image, (rows, columns), shape)
        log = _log(network.values[:rows, :columns], grey.shape)
        maps = np.asarray(cv2.merge([log, grey.astype(np.float32)]), np.float32)
        source = frame.frame_id, network.camera, network.relative, box, shape
        last = self._last
        if last is None or not last.stamp_ns or source != last.source:
            search = FlowSearch(finest=1)
            self._last = _Memory(frame.stamp_ns, source, search, grey, maps)
            return network
        self._last = _Memory(frame.stamp_ns, source, last.search, grey, maps)
        gap_s = (frame.stamp_ns - last.stamp_ns) * 1e-9
        change = cv2.norm(grey, last.grey, cv2.NORM_L1) / grey.size
        if not 0 < gap_s <= MAX_GAP_S or change > CUT:
            return network
        before = last.maps
        if change >= _STILL_LEVELS:
            before = OpticalFlow(last.grey, grey, last.search).interpolate_map(before)
        correction = _correction(maps - before)
        # The memory holds what is filtered, too.
        maps[..., 0] += correction
        found = network.values.copy()
        found[:rows, :columns] *= cv2.resize(cv2.exp(correction), (columns, rows))
        return replace(network, values=found)


def _log(values: NDArray[np.float32], size: tuple[int, ...]) -> NDArray[np.float32]:
    """The logarithm of values reduced to (rows, columns); NaN where one is not known."""
    size = size[::-1]
    if cv2.checkRange(values, minVal=_SMALLEST, maxVal=_LARGEST)[0]:
        small = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
        return np.asarray(cv2.log(small), np.float32)
    known = np.where((values > 0) & np.isfinite(values), values, np.float32(np.nan))
    return np.log(cv2.resize(known, size, interpolation=cv2.INTER_AREA))


def _grey(
    image: NDArray[np.uint8], cells: tuple[int, int], output: tuple[int, ...]
) -> NDArray[np.uint8]:
    """The part of a network's input that cells of its output cover, reduced to their size.

    Args:
        image: uint8 (h, w, 3), the network's input.
        cells: (rows, columns) of the cells; more than 52 are reduced further.
        output: (rows, columns) of the output.
    """
    height, width = (
        min(side, side * count // whole)
        for side, count, whole in zip(image.shape, cells, output, strict=False)
    )
    shrink = min(1.0, _MOST_SIDE / max(cells))
    rows, columns = (max(1, round(count * shrink)) for count in cells)
    # At twice the size four of 16 pixels of cspnano's input count: half of the pyramid's time.
    double = cv2.resize(image[:height, :width], (2 * columns, 2 * rows))
    grey = cv2.cvtColor(double, cv2.COLOR_BGR2GRAY)
    return np.asarray(cv2.resize(grey, (columns, rows)), np.uint8)


def _correction(difference: NDArray[np.float32]) -> NDArray[np.float32]:
    """(h, w): what is added to the new log depth; 0 where either frame has none.

    Args:
        difference: (h, w, 2), of log depth and image.
    """
    step, error = difference[..., 0], difference[..., 1]
    # A power takes ten times as long.
    doubt = 1 + np.square(np.square(step * np.float32(1 / _LOG_DEPTH)))
    doubt *= 1 + np.square(error * np.float32(1 / _GREY_LEVELS))
    correction = step * np.float32(_GAIN - 1) / doubt
    cv2.patchNaNs(correction, 0)
    return np.asarray(correction)
