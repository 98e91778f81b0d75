# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The training objective: every task's losses, masked where labels are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mt_perception.errors import ModelError
from mt_perception.network.detection import cells_of
from mt_perception.network.interrogate import GatedTrunk
from mt_perception.network.multitask import TASKS, Multitask, Outputs
from mt_perception.training.cpu_bfloat16 import autocast
from mt_perception.training.data.batches import Batch
from mt_perception.training.losses.balancing import SharedGradients
from mt_perception.training.losses.depth import (
    gradient_loss,
    metric_loss,
    relative_loss,
    shape_loss,
)
from mt_perception.training.losses.detection import detection_loss, distillation_loss
from mt_perception.training.losses.segmentation import (
    confident_labels,
    dice_loss,
    segmentation_loss,
    soft_label_loss,
    with_soft_labels,
)
from mt_perception.training.schedules.phases import TASK_OF, Weights
from mt_perception.types import UNLABELLED


@dataclass(frozen=True)
class Teachers:
    """Frozen networks that provide targets during training.

    Args:
        original: the network before training; its detections are distilled.
        average: the averaged weights; they give pseudo labels for self-training.
        confidence: lowest probability of a pseudo label.
    """

    original: Multitask
    average: Multitask
    confidence: float


def losses(
    network: Multitask,
    batch: Batch,
    weights: Weights,
    teachers: Teachers,
    class_weights: Tensor,
    precision: torch.dtype,
    train_trunk: bool,
    shared: SharedGradients | None = None,
) -> dict[str, Tensor]:
    """Compute the unweighted losses of a batch by name, of those with a weight.

    With `shared`, gradients stop at the shared features until `shared.backward()`.
    """
    tasks = weights.tasks
    kind = batch.image.device.type
    with autocast(precision, kind):
        with torch.set_grad_enabled(train_trunk):
            features = network.trunk(batch.image.float())
        if shared is None:
            outputs = _to_float(network.heads(features, tasks))
        else:
            copies = shared.split(features, tasks)
            heads = {t: getattr(network.heads(x, (t,)), t) for t, x in copies.items()}
            outputs = _to_float(Outputs(*(heads.get(task) for task in TASKS)))
        targets = _teacher_outputs(batch, weights, teachers)
    found: dict[str, Tensor] = {}
    if outputs.detection is not None:
        cells = cells_of((features.s8, features.s16, features.s32))
        if weights.detection > 0:
            found['detection'] = detection_loss(outputs.detection, cells, batch.boxes)
        if weights.teacher_boxes > 0:
            found['teacher_boxes'] = detection_loss(outputs.detection, cells, batch.teacher_boxes)
        if targets.detection is not None:
            found['distillation'] = distillation_loss(outputs.detection, targets.detection)
    if outputs.segmentation is not None:
        found |= _segmentation_losses(
            outputs.segmentation, targets.segmentation, batch, weights, class_weights,
            teachers.confidence,
        )  # fmt: skip
    if outputs.depth is not None:
        found |= _depth_losses(outputs.depth, batch, weights)
    if weights.sparsity > 0 and isinstance(network.trunk, GatedTrunk):
        found['sparsity'] = network.trunk.gates.sparsity()
    return found


def without_inactive(weights: Weights, factors: Mapping[str, float]) -> Weights:
    """Set the weights of losses of tasks with factor zero to zero."""
    inactive = {loss: 0.0 for loss, task in TASK_OF.items() if factors.get(task, 1.0) == 0}
    return replace(weights, **inactive)


def by_task(found: Mapping[str, Tensor], weights: Weights) -> dict[str, Tensor]:
    """Sum each task's weighted losses; losses of no task keep their own names."""
    sums: dict[str, Tensor] = {}
    for name, loss in found.items():
        key = TASK_OF.get(name, name)
        term = getattr(weights, name) * loss
        sums[key] = sums[key] + term if key in sums else term
    return sums


def _segmentation_losses(
    logits: Tensor,
    averaged: Tensor | None,
    batch: Batch,
    weights: Weights,
    class_weights: Tensor,
    confidence: float,
) -> dict[str, Tensor]:
    found, labels = {}, batch.semantic
    if weights.soft_labels > 0 and batch.soft_labels is not None:
        found['soft_labels'] = soft_label_loss(logits, batch.soft_labels, labels)
        covered = with_soft_labels(batch.soft_labels)
        labels = torch.where(covered[:, None, None], UNLABELLED, labels)
    if weights.segmentation > 0:
        found['segmentation'] = segmentation_loss(logits, labels, class_weights)
    if weights.dice > 0:
        found['dice'] = dice_loss(logits, labels)
    if averaged is not None:
        # Images of depth cameras are partly labelled. Pseudo labels on the rest would confirm
        # their own mistakes (whole walls became tables), so these images have none.
        measured = (batch.depth_per_focal > 0).flatten(1).any(dim=1)
        seen = batch.inside & ~measured[:, None, None]
        labels = confident_labels(averaged, batch.semantic, seen, confidence)
        found['self_training'] = segmentation_loss(logits, labels, torch.ones_like(class_weights))
    return found


def _depth_losses(log_depth: Tensor, batch: Batch, weights: Weights) -> dict[str, Tensor]:
    found = {}
    if weights.depth > 0:
        found['depth'] = metric_loss(log_depth, batch.depth_per_focal)
    if weights.depth_gradient > 0:
        found['depth_gradient'] = gradient_loss(log_depth, batch.depth_per_focal)
    if weights.depth_shape > 0:
        found['depth_shape'] = shape_loss(log_depth, batch.depth_per_focal)
    if weights.relative_depth > 0:
        found['relative_depth'] = relative_loss(log_depth, batch.relative_depth)
    return found


@torch.no_grad()
def _teacher_outputs(batch: Batch, weights: Weights, teachers: Teachers) -> Outputs:
    """Return the teachers' predictions for the images without colour distortion."""
    image = batch.clean.float()
    detection = segmentation = None
    if weights.distillation > 0:
        detection = teachers.original(image, ('detection',)).detection
    if weights.self_training > 0:
        segmentation = teachers.average(image, ('segmentation',)).segmentation
    return _to_float(Outputs(detection, segmentation, None))


def _to_float(outputs: Outputs) -> Outputs:
    """Convert to float32, in which losses are computed."""
    return Outputs(
        None
        if outputs.detection is None
        else type(outputs.detection)(*(t.float() for t in outputs.detection)),
        None if outputs.segmentation is None else outputs.segmentation.float(),
        None if outputs.depth is None else outputs.depth.float(),
    )


def check_finite(found: Mapping[str, Tensor]) -> None:
    """Refuse losses that would make every weight NaN, in the checkpoint too.

    Raises:
        ModelError: a loss is not finite; the message names it.
    """
    wrong = [name for name, loss in found.items() if not bool(loss.isfinite())]
    if wrong:
        raise ModelError(
            f'the training diverged: {", ".join(wrong)} is not finite. Lower the learning rates '
            'or the weights of these losses; the last checkpoint is kept'
        )
