# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The result of one task from the tensors of a frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.options import Options
from mt_perception.execution.postprocess.depth import NetworkDepth, network_depth
from mt_perception.execution.postprocess.detection import detections
from mt_perception.execution.postprocess.segmentation import confidence, segmentation
from mt_perception.image.letterbox import Letterbox
from mt_perception.model.manifest import TaskSpec
from mt_perception.types import DETECTION, SEGMENTATION, DepthMap, TaskResult


def task_result(
    spec: TaskSpec,
    run: FrameRun,
    letterbox: Letterbox,
    options: Options,
    scaled: Callable[[NetworkDepth], DepthMap] | None = None,
) -> TaskResult:
    """Post-process the tensors of one task.

    Args:
        spec: The task.
        run: The frame with its tensors.
        letterbox: How the image lies in the network's input.
        options: Settings.
        scaled: Converts the depth of the network to the depth map; None keeps it unchanged.

    Raises:
        TaskError: A tensor is missing or malformed.
        CameraError: The intrinsics do not fit the image.
    """
    outputs = {name: run.tensor(tensor) for name, tensor in spec.outputs.items()}
    if spec.kind == DETECTION:
        return detections(outputs, letterbox, spec.labels, options)
    if spec.kind == SEGMENTATION:
        found = segmentation(outputs['class_ids'], letterbox, spec.labels)
        if spec.confidence is not None and spec.confidence.logits in run.tensors:
            logits = run.tensors[spec.confidence.logits]
            return replace(found, confidence=confidence(logits, letterbox, spec.confidence))
        return found
    distances = network_depth(outputs, letterbox, run.frame.intrinsics)
    return distances.depth_map(options.max_depth_m) if scaled is None else scaled(distances)
