# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Makes the record of a frame from its result and ground truth."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.evaluation.datasets.truth import GroundTruth, Sample
from mt_perception.evaluation.records import DetectionRecord, FrameRecord, Json, TruthRecord
from mt_perception.types import Detections, Frame, Result

DIGEST_BYTES = 16


def frame_record(
    frame: Frame,
    result: Result,
    *,
    key: str,
    source: str,
    truth: GroundTruth | None = None,
    metrics: Mapping[str, Mapping[str, Json]] | None = None,
    digests: Mapping[str, str] | None = None,
) -> FrameRecord:
    """The record of one frame.

    Args:
        frame: The frame.
        result: Its result.
        key: Unique key in its source.
        source: Name of the source.
        truth: Its ground truth.
        metrics: Group → metrics of this frame.
        digests: Hashes of image, ground truth and outputs.
    """
    run = result.execution
    return FrameRecord(
        key=key,
        source=source,
        stamp_ns=result.stamp_ns,
        image_size=(frame.image.shape[0], frame.image.shape[1]),
        detections=detection_record(result.detections),
        truth=None if truth is None else truth_record(truth),
        metrics=metrics or {},
        tasks=run.tasks,
        blocks=run.blocks,
        path=run.path,
        reason=run.reason,
        macs=run.macs,
        network_size=run.network_size,
        failures=result.failures,
        digests=digests or {},
        extra=run.values(),
        latency_ms=run.stage_ms,
        block_ms=run.block_ms,
    )


def detection_record(found: Detections | None) -> DetectionRecord | None:
    """Detections with class names instead of class ids; None for a task that did not run."""
    if found is None:
        return None
    names = tuple(found.labels[i] for i in found.class_ids)
    return DetectionRecord(found.boxes, found.scores, names, _track_ids(found.track_ids))


def truth_record(truth: GroundTruth) -> TruthRecord:
    """Ground truth with class names instead of class ids, without its large arrays."""
    objects = truth.objects
    labels = () if objects is None else objects.labels
    ids = () if objects is None else objects.class_ids
    return TruthRecord(
        boxes=None if objects is None else objects.boxes,
        labels=tuple(labels[i] if i >= 0 else '' for i in ids),
        crowd=() if objects is None else tuple(bool(c) for c in objects.crowd),
        areas=np.zeros(0) if objects is None else objects.areas,
        exhaustive=() if objects is None else tuple(sorted(labels[i] for i in objects.exhaustive)),
        segmentation=truth.segmentation is not None,
        depth=truth.depth is not None,
        pseudo=truth.pseudo,
        track_ids=None if objects is None else _track_ids(objects.track_ids),
    )


def _track_ids(found: NDArray[np.int64] | None) -> tuple[int, ...] | None:
    return None if found is None else tuple(found.tolist())


def digests(sample: Sample, result: Result) -> dict[str, str]:
    """Short hashes of pixels and ground truth; equal hashes mean equal outputs."""
    found = {'image': digest(sample.frame.image)}
    if sample.truth is not None:
        objects = sample.truth.objects
        known: list[NDArray[Any] | None] = [sample.truth.segmentation, sample.truth.depth]
        if objects is not None:
            known += [objects.boxes, objects.class_ids, objects.crowd, objects.areas]
            known.append(objects.track_ids)
        found['truth'] = digest(*(array for array in known if array is not None))
    if result.depth is not None:
        found['depth'] = digest(result.depth.depth)
    if result.segmentation is not None:
        found['segmentation'] = digest(result.segmentation.class_ids)
    return found


def digest(*arrays: NDArray[Any]) -> str:
    """A short hash over shapes and values."""
    state = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for array in arrays:
        state.update(f'{array.dtype.str}{array.shape}'.encode())
        state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()
