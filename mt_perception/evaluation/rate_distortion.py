# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Rate-distortion: frames through a codec, and the bytes for an accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ModelError, OptionError
from mt_perception.execution.frame_run import FrameRun, Runner
from mt_perception.execution.plan import Stage
from mt_perception.model.folder import read_manifest
from mt_perception.model.task_graph import IMAGE as NETWORK_INPUT
from mt_perception.pipeline import Pipeline
from mt_perception.reports import Execution, OffloadReport

if TYPE_CHECKING:
    from mt_perception.offload.split_model import SplitModelRunner

IMAGE, JPEG, WEBP, RATE = 'image', 'jpeg', 'webp', 'rate'
ALL = 'all'
"""In a sweep: every standard codec."""

PAYLOAD_BYTES = 'offload.payload_bytes'
"""Name of the payload size among the values of an execution."""

_FORMATS = {JPEG: ('.jpg', cv2.IMWRITE_JPEG_QUALITY), WEBP: ('.webp', cv2.IMWRITE_WEBP_QUALITY)}
_QUALITIES = {JPEG: (10, 20, 30, 50, 75, 90), WEBP: (5, 20, 50, 75)}
_BEST_QUALITY = 100


@dataclass(frozen=True)
class Codec:
    """A way to compress a frame.

    Attributes:
        kind: IMAGE, without loss; JPEG; WEBP; or RATE, a rate of the cut.
        value: The quality of a picture, 1 to 100, or the index of the rate.
    """

    kind: str
    value: int = 0

    @property
    def name(self) -> str:
        """The name, as ``jpeg-75``."""
        return self.kind if self.kind == IMAGE else f'{self.kind}-{self.value}'


REFERENCE = Codec(JPEG, 75)
"""The reference of comparisons: the usual quality of camera drivers."""


def parse_codec(text: str) -> Codec:
    """Read ``image``, ``jpeg-75``, ``webp-50`` or ``rate-2``.

    Raises:
        OptionError: It is none of them.
    """
    kind, _, number = text.partition('-')
    if text == IMAGE:
        return Codec(IMAGE)
    least = {JPEG: 1, WEBP: 1, RATE: 0}.get(kind)
    if least is None or not number.isdecimal() or not least <= int(number) <= _BEST_QUALITY:
        raise OptionError(
            f'a codec is {IMAGE}, {JPEG}-QUALITY, {WEBP}-QUALITY (1 to {_BEST_QUALITY}) or '
            f'{RATE}-INDEX, found {text!r}'
        )
    return Codec(kind, int(number))


def standard_codecs(model: str) -> tuple[str, ...]:
    """The image itself, pictures of several qualities, and every rate of a model's cut.

    Raises:
        ModelError: The folder is refused.
    """
    cut = read_manifest(Path(model)).cut
    pictures = [Codec(kind, q) for kind, qualities in _QUALITIES.items() for q in qualities]
    rates = [] if cut is None else [Codec(RATE, index) for index in range(len(cut.rates))]
    return tuple(codec.name for codec in (Codec(IMAGE), *pictures, *rates))


class CodecRunner:
    """Runs plans on what a codec leaves of the network's input.

    Args:
        folder: The model folder.
        whole: Runs the whole network.
        codec: The codec.

    Attributes:
        codec: The codec; may change between two frames.
        image: uint8 (1, H, W, 3), the last input of the whole network; without loss for rates.

    Raises:
        ModelError: A rate is wanted, and the model has no cut, or not that rate.
    """

    def __init__(self, folder: Path, whole: Runner, codec: Codec) -> None:
        self._folder = folder
        self._whole = whole
        self._cut: SplitModelRunner | None = None
        self.codec = codec
        self.image = np.zeros((1, 0, 0, 3), np.uint8)
        if codec.kind == RATE:
            self._halves(codec.value)

    def run(self, stage: Stage, run: FrameRun) -> None:
        """Run a stage on what the codec leaves of the network's input."""
        if stage is not run.plan.stages[0]:
            self._whole.run(stage, run)
            return
        self.image = run.image
        if self.codec.kind == RATE:
            self._halves(self.codec.value).run(stage, run)
            return
        size = run.image.size
        if self.codec.kind != IMAGE:
            content = encoded(run.image, self.codec)
            size = len(content)
            self.image = np.asarray(
                cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR), np.uint8
            )[None]
        run.tensors[NETWORK_INPUT] = self.image
        self._whole.run(stage, run)
        run.offload = OffloadReport(remote=True, reason=self.codec.name, payload_bytes=size)

    def _halves(self, rate: int) -> SplitModelRunner:
        """Return both parts of the cut at a rate; they are loaded on first use."""
        if self._cut is None:
            # The entropy coder is an extra; pictures do without.
            from mt_perception.offload.split_model import SplitModelRunner

            self._cut = SplitModelRunner(self._folder, rate)
        rates = len(self._cut.robot.cut.rates)
        if not 0 <= rate < rates:
            raise ModelError(f'{RATE}-{rate}: this model has the rates 0 to {rates - 1}')
        self._cut.rate = rate
        return self._cut


def payload_bytes(execution: Execution) -> int:
    """Return the payload size of a frame; 0 if it was not sent."""
    return 0 if execution.offload is None else execution.offload.payload_bytes or 0


def through(pipeline: Pipeline, folder: Path, codec: Codec) -> CodecRunner:
    """Compress the frames of a pipeline with a codec.

    Raises:
        ModelError: A rate is wanted, and the model has no cut, or not that rate.
    """
    runner = CodecRunner(folder, pipeline.runner, codec)
    pipeline.runner = runner
    return runner


def encoded(image: NDArray[np.uint8], codec: Codec) -> bytes:
    """The file of a picture, uint8 (1, H, W, 3), in a picture format."""
    ending, flag = _FORMATS[codec.kind]
    _, content = cv2.imencode(ending, image[0], [flag, codec.value])
    return content.tobytes()


def jpeg_of(image: NDArray[np.uint8], most_bytes: int) -> Codec:
    """The best JPEG of a picture, uint8 (1, H, W, 3), within a size; else the smallest one."""
    low, high = 1, _BEST_QUALITY
    while low < high:
        middle = (low + high + 1) // 2
        if len(encoded(image, Codec(JPEG, middle))) <= most_bytes:
            low = middle
        else:
            high = middle - 1
    return Codec(JPEG, low)


Points = Sequence[tuple[float, float]]
"""(bytes of a frame, accuracy) of one kind of codec."""


def bytes_needed(points: Points, goal: float, rises: bool) -> float | None:
    """The bytes at which a curve reaches an accuracy, between its points on a line.

    Args:
        points: The curve, in any order.
        goal: The accuracy.
        rises: Whether more of it is better.

    Returns:
        The bytes; those of the cheapest point where that is good enough already; None where no
        point is.
    """
    sign = 1 if rises else -1
    curve = sorted((size, sign * value) for size, value in points)
    goal *= sign
    if curve and curve[0][1] >= goal:
        return curve[0][0]
    for (x0, y0), (x1, y1) in pairwise(curve):
        if y1 >= goal:
            return x0 + (x1 - x0) * (goal - y0) / (y1 - y0)
    return None
