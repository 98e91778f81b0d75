# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What everything speaks: a frame in, a result out. Frozen, numpy, units in the docstrings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

DETECTION = 'detection'
DEPTH = 'depth'
SEGMENTATION = 'segmentation'

UNLABELLED = 255
"""The class id of a pixel without a class in every label image."""


PINHOLE = 'pinhole'
FISHEYE = 'fisheye'


@dataclass(frozen=True)
class Intrinsics:
    """A camera (REP-104 K matrix), in pixels of an image of ``width`` × ``height``.

    ``projection`` is ``PINHOLE``, or ``FISHEYE`` for an unrectified image of a wide lens, whose
    focal lengths hold near the centre only.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    projection: str = PINHOLE


@dataclass(frozen=True, eq=False)
class Frame:
    """One camera image on its way through the pipeline.

    Attributes:
        image: uint8 (H, W, 3), BGR. Read-only to everyone downstream.
        stamp_ns: Time of exposure in nanoseconds since the clock's epoch.
        frame_id: The optical frame, copied unchanged to every output.
        intrinsics: The camera, at the size of ``image``; None where it is unknown.
    """

    image: NDArray[np.uint8]
    stamp_ns: int = 0
    frame_id: str = ''
    intrinsics: Intrinsics | None = None


@dataclass(frozen=True, eq=False)
class Detections:
    """Objects found, best score first, in pixels of the input image.

    Attributes:
        boxes: float32 (N, 4): x0, y0, x1, y1; inside the image, x1 > x0, y1 > y0.
        scores: float32 (N,) in [0, 1].
        class_ids: int64 (N,), indices into ``labels``.
        labels: Class names of the model.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, eq=False)
class DepthMap:
    """Distance along the optical axis (REP-118), at the input image's size.

    Attributes:
        depth: float32 (H, W), metres; NaN where unknown.
        intrinsics: The camera that turned the network's output into metres.
        assumed_intrinsics: True if no camera was given and a typical one was taken: the shape
            of the scene is right, its scale is a guess.
    """

    depth: NDArray[np.float32]
    intrinsics: Intrinsics
    assumed_intrinsics: bool = False


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A class for every pixel, at the input image's size.

    Attributes:
        class_ids: uint8 (H, W), indices into ``labels``; 255 is unlabelled.
        labels: Class names of the model.
    """

    class_ids: NDArray[np.uint8]
    labels: tuple[str, ...]


Fact = str | int | float | bool
"""What a part has to say of one frame, for statistics and records."""


@dataclass(frozen=True)
class Execution:
    """What was run for one frame, and what it cost.

    Attributes:
        tasks: The tasks that were served: those that were wanted and due.
        blocks: The blocks that ran, in order.
        path: Name of the plan's path through the graph (``full`` where nothing is skipped).
        reason: Why this plan, in words.
        macs: Multiply-accumulates of the blocks that ran, at this frame's network size.
        network_size: (height, width) of the network's input in pixels.
        latency_ms: Wall time by stage: ``plan``, ``preprocess``, each block's name,
            ``postprocess`` and ``total``.
        loaded_bytes: Bytes of weights that had to be loaded, under a memory budget.
        facts: What parts that not every run has have to say, by dotted name, as
            ``budget.wanted`` or ``offload.payload_bytes``.
    """

    tasks: tuple[str, ...]
    blocks: tuple[str, ...]
    path: str
    reason: str
    macs: int
    network_size: tuple[int, int]
    latency_ms: Mapping[str, float]
    loaded_bytes: int = 0
    facts: Mapping[str, Fact] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Result:
    """Everything the pipeline has to say about one frame; a task not served is None.

    Attributes:
        stamp_ns: The frame's own stamp, unchanged.
        frame_id: The frame's own frame id, unchanged.
        detections: The objects, or None.
        depth: The depth map, or None.
        segmentation: The label image, or None.
        execution: What was run and what it cost.
        failures: Task name → reason, for tasks that were wanted and failed.
        extra: Task name → result, for tasks of a model beyond those three.
    """

    stamp_ns: int
    frame_id: str
    detections: Detections | None
    depth: DepthMap | None
    segmentation: Segmentation | None
    execution: Execution
    failures: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Detections | DepthMap | Segmentation] = field(default_factory=dict)
