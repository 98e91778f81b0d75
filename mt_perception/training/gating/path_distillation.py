# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of a lighter path: labels, and distillation from the full network at full size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mt_perception.network.detection import RawDetections, cells_of
from mt_perception.network.multitask import Multitask, Outputs
from mt_perception.training.data.batches import Batch
from mt_perception.training.gating.masks import Shrink, log_scale
from mt_perception.training.losses.depth import gradient_loss, metric_loss
from mt_perception.training.losses.detection import detection_loss, distillation_loss
from mt_perception.training.losses.segmentation import segmentation_loss
from mt_perception.training.schedules.phases import Weights


@torch.no_grad()
def full_predictions(full: Multitask, batch: Batch, tasks: tuple[str, ...]) -> Outputs:
    """Return the full network's segmentation and depth for undistorted images at full size.

    Args:
        full: the full network.
        batch: the batch at full size.
        tasks: the requested tasks.
    """
    dense = tuple(task for task in tasks if task != 'detection')
    return full(batch.clean.float(), dense) if dense else Outputs(None, None, None)


@torch.no_grad()
def predictions_at(
    large: Outputs, full: Multitask, small: Batch, how: Shrink, tasks: tuple[str, ...]
) -> Outputs:
    """Return the full network's predictions at a path's size.

    Segmentation and depth are resized. Raw detections belong to the cells of one size, so they are
    computed at the path's size.

    Args:
        large: result of `full_predictions`.
        full: the full network.
        small: the batch at the path's size.
        how: the scaling.
        tasks: the requested tasks.
    """
    detection = segmentation = depth = None
    if 'detection' in tasks:
        raw = full(small.clean, ('detection',)).detection
        assert raw is not None
        detection = RawDetections(*(t.float() for t in raw))
    if large.segmentation is not None:
        segmentation = how.map(large.segmentation.float())
    if large.depth is not None:
        depth = how.map(large.depth.float()[:, None])[:, 0] + log_scale(how)
    return Outputs(detection, segmentation, depth)


def path_losses(
    network: Multitask,
    small: Batch,
    teacher: Outputs,
    weights: Weights,
    class_weights: Tensor,
    tasks: tuple[str, ...],
    distillation: float,
) -> dict[str, Tensor]:
    """Compute the weighted losses of the requested tasks, by name.

    Args:
        network: the trained network, with its gates set.
        small: the batch at the path's size.
        teacher: predictions of the full network at the path's size.
        weights: weights of the losses.
        class_weights: (C,) weights of the segmentation classes.
        tasks: the requested tasks.
        distillation: weight of the distance to the full network's segmentation and depth.
    """
    features = network.trunk(small.image)
    outputs = network.heads(features, tasks)
    found: dict[str, Tensor] = {}
    if outputs.detection is not None and teacher.detection is not None:
        raw = RawDetections(*(t.float() for t in outputs.detection))
        cells = cells_of((features.s8, features.s16, features.s32))
        if weights.detection > 0:
            found['detection'] = weights.detection * detection_loss(raw, cells, small.boxes)
        found['distillation'] = weights.distillation * distillation_loss(raw, teacher.detection)
    if outputs.segmentation is not None and teacher.segmentation is not None:
        logits = outputs.segmentation.float()
        found['segmentation'] = weights.segmentation * segmentation_loss(
            logits, small.semantic, class_weights
        )
        target = teacher.segmentation.softmax(dim=1)
        each = functional.kl_div(logits.log_softmax(dim=1), target, reduction='none').sum(dim=1)
        found['segmentation_distillation'] = distillation * _mean(each, small.inside)
    if outputs.depth is not None and teacher.depth is not None:
        log_depth = outputs.depth.float()
        measured = small.depth_per_focal
        found['depth'] = weights.depth * metric_loss(log_depth, measured)
        found['depth_gradient'] = weights.depth_gradient * gradient_loss(log_depth, measured)
        each = (log_depth - teacher.depth).abs()
        found['depth_distillation'] = distillation * _mean(each, small.inside)
    return found


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return (values * where).sum() / where.sum().clamp_min(1)
