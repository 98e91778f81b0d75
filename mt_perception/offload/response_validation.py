# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Validation of a response before post-processing reads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ProtocolError
from mt_perception.model.manifest import TaskSpec
from mt_perception.offload.depth_codec import MAX_DEPTH_PER_FOCAL
from mt_perception.offload.message_limits import protocol_errors
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION, UNLABELLED


def validate_response(
    tensors: Mapping[str, NDArray[Any]], tasks: Iterable[TaskSpec], size: tuple[int, int]
) -> None:
    """Check that post-processing of the tasks can read the tensors.

    Args:
        tensors: Tensor of the graph → value.
        tasks: The tasks that read them.
        size: (height, width) of the network's input.

    Raises:
        ProtocolError: A tensor is missing, has another type or shape than its task expects, is
            larger than the network's input, or holds a class id without a label or a value that
            is not finite. Nothing else is raised, whatever the tensors hold.
    """
    with protocol_errors('response'):
        for task in tasks:
            _check_task(task, {n: tensors[tensor] for n, tensor in task.outputs.items()}, size)


def _check_task(task: TaskSpec, values: Mapping[str, NDArray[Any]], size: tuple[int, int]) -> None:
    for name, value in values.items():
        if value.dtype.kind == 'f' and not np.isfinite(value).all():
            raise ProtocolError(f'{task.name}/{name} has values that are not finite')
    if task.kind == DETECTION:
        _check_detection(task, values)
    else:
        (name,) = task.outputs
        _check_map(task, name, values[name], size)


def _check_detection(task: TaskSpec, values: Mapping[str, NDArray[Any]]) -> None:
    boxes, scores, class_ids = (values[name] for name in ('boxes', 'scores', 'class_ids'))
    count = scores.shape[-1] if scores.ndim == 2 else -1
    shapes = (boxes.shape, scores.shape, class_ids.shape)
    kinds = boxes.dtype.kind + scores.dtype.kind + class_ids.dtype.kind
    if shapes != ((1, count, 4), (1, count), (1, count)) or kinds != 'ffi':
        raise ProtocolError(
            f'{task.name}: expected boxes (1, N, 4), scores (1, N) and integer class_ids (1, N), '
            f'found {", ".join(map(str, shapes))}'
        )
    if count and not 0 <= class_ids.min() <= class_ids.max() < len(task.labels):
        raise ProtocolError(
            f'{task.name}: expected class ids below {len(task.labels)}, found '
            f'{class_ids.min()} to {class_ids.max()}'
        )


def _check_map(task: TaskSpec, name: str, value: NDArray[Any], size: tuple[int, int]) -> None:
    expected = np.uint8 if task.kind == SEGMENTATION else np.float32
    sides = value.shape[1:]
    fits = (
        value.ndim == 3
        and value.shape[0] == 1
        and all(0 < side <= most for side, most in zip(sides, size, strict=True))
    )
    if value.dtype != expected or not fits:
        raise ProtocolError(
            f'{task.name}/{name}: expected {np.dtype(expected)} (1, h, w) up to {size}, found '
            f'{value.dtype} {value.shape}'
        )
    if task.kind == DEPTH and np.abs(value).max() > MAX_DEPTH_PER_FOCAL:
        raise ProtocolError(
            f'{task.name}/{name}: expected at most {MAX_DEPTH_PER_FOCAL:g} m per pixel of focal '
            f'length, found {np.abs(value).max():g}'
        )
    if task.kind == SEGMENTATION:
        labelled = value[value != UNLABELLED]
        if labelled.size and labelled.max() >= len(task.labels):
            raise ProtocolError(
                f'{task.name}: expected class ids below {len(task.labels)}, found {labelled.max()}'
            )
