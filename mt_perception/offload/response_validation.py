# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A reply is looked at before it is believed: the local network can still stand in for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import ProtocolError
from mt_perception.model.manifest import TaskSpec
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION, UNLABELLED

_FARTHEST = 1e6
"""Metres per pixel of focal length; more might not stay finite as metres."""


def validate_response(
    tensors: Mapping[str, NDArray[Any]], tasks: Iterable[TaskSpec], size: tuple[int, int]
) -> None:
    """Check that the tensors are what post-processing of these tasks can read.

    Args:
        tensors: Tensor of the graph → its value.
        tasks: The tasks that they are for.
        size: (height, width) of the network's input.

    Raises:
        ProtocolError: One has another type or shape than its task has, is larger than the
            network's input, holds a class without a label or a number that is not finite.
    """
    for task in tasks:
        values = {name: tensors[tensor] for name, tensor in task.outputs.items()}
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
        raise ProtocolError(f'{task.name}: a class id has no label')


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
    if task.kind == DEPTH and np.abs(value).max() > _FARTHEST:
        raise ProtocolError(f'{task.name}/{name} is beyond anything that a camera sees')
    if task.kind == SEGMENTATION:
        known = value[value != UNLABELLED]
        if known.size and known.max() >= len(task.labels):
            raise ProtocolError(f'{task.name}: class {known.max()} has no label')
