# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a lighter path is trained to do: labels, and what the full network sees at full size."""

from __future__ import annotations

import torch
from torch import Tensor

from mt_perception.network.detection import RawDetections, cells_of
from mt_perception.network.multitask import Multitask, Outputs
from mt_perception.training.batches import Batch
from mt_perception.training.losses.depth import gradient_loss, metric_loss
from mt_perception.training.losses.detection import detection_loss, distillation_loss
from mt_perception.training.losses.segmentation import confident_labels, segmentation_loss
from mt_perception.training.phases import Weights
from mt_perception.training.shrink import Shrink, log_scale


@torch.no_grad()
def full_opinion(
    full: Multitask, batch: Batch, small: Batch, how: Shrink, tasks: tuple[str, ...]
) -> Outputs:
    """Let the full network see the undistorted pictures; what it says in the path's size.

    Segmentation and depth are seen at full size. Raw detections belong to cells, which another
    size has others of, so those are taken at the path's own size.

    Args:
        full: the full network.
        batch: at full size.
        small: the same at the path's size.
        how: how it was shrunk.
        tasks: what is asked.
    """
    dense = tuple(task for task in tasks if task != 'detection')
    seen = full(batch.clean.float(), dense) if dense else Outputs(None, None, None)
    detection = segmentation = depth = None
    if 'detection' in tasks:
        raw = full(small.clean, ('detection',)).detection
        assert raw is not None
        detection = RawDetections(*(t.float() for t in raw))
    if seen.segmentation is not None:
        segmentation = how.map(seen.segmentation.float())
    if seen.depth is not None:
        depth = how.map(seen.depth.float()[:, None])[:, 0] + log_scale(how)
    return Outputs(detection, segmentation, depth)


def path_losses(
    network: Multitask,
    small: Batch,
    opinion: Outputs,
    weights: Weights,
    class_weights: Tensor,
    tasks: tuple[str, ...],
    confidence: float,
    imitation: float,
) -> dict[str, Tensor]:
    """Compute the weighted losses of the wanted tasks, by name.

    Args:
        network: what is trained, its gates set.
        small: the batch at the path's size.
        opinion: of the full network.
        weights: of the losses.
        class_weights: (C,) of the segmentation classes.
        tasks: those that are wanted.
        confidence: from which probability the full network's pixels count as labels.
        imitation: weight of the distance to the full network's depth.
    """
    features = network.trunk(small.image)
    outputs = network.heads(features, tasks)
    found: dict[str, Tensor] = {}
    if outputs.detection is not None and opinion.detection is not None:
        raw = RawDetections(*(t.float() for t in outputs.detection))
        cells = cells_of((features.s8, features.s16, features.s32))
        if weights.detection > 0:
            found['detection'] = weights.detection * detection_loss(raw, cells, small.boxes)
        found['distillation'] = weights.distillation * distillation_loss(raw, opinion.detection)
    if outputs.segmentation is not None and opinion.segmentation is not None:
        logits = outputs.segmentation.float()
        sure = confident_labels(opinion.segmentation, small.semantic, small.inside, confidence)
        found['segmentation'] = weights.segmentation * segmentation_loss(
            logits, small.semantic, class_weights
        )
        found['self_training'] = weights.self_training * segmentation_loss(
            logits, sure, torch.ones_like(class_weights)
        )
    if outputs.depth is not None and opinion.depth is not None:
        log_depth = outputs.depth.float()
        measured = small.depth_per_focal
        found['depth'] = weights.depth * metric_loss(log_depth, measured)
        found['depth_gradient'] = weights.depth_gradient * gradient_loss(log_depth, measured)
        error = (log_depth - opinion.depth).abs() * small.inside
        found['imitation'] = imitation * error.sum() / small.inside.sum().clamp_min(1)
    return found
