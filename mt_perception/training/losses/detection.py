# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The YOLOX detection loss with SimOTA assignment, and dense distillation from a teacher."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mt_perception.network.detection import RawDetections, decode_boxes
from mt_perception.training.data.samples import Boxes
from mt_perception.training.distributed import mean_over_processes

_CENTRE_RADIUS = 1.5  # half side of the centre region, in strides
_IOU_WEIGHT = 5.0  # weight of the box term, as in YOLOX
_CANDIDATES = 10
_FAR = 1e5


def detection_loss(
    raw: RawDetections, cells: tuple[Tensor, Tensor], boxes: Sequence[Boxes | None]
) -> Tensor:
    """Return the loss of YOLOX (arXiv 2107.08430) over the images with boxes.

    In images with incomplete labels only assigned cells count, because an unassigned cell may
    show an unlabelled object. Boxes of a teacher have its scores as targets of objectness.

    Args:
        raw: raw detections of the batch.
        cells: corners (N, 2) and strides (N, 1) of the cells.
        boxes: labels per image.

    Returns:
        The loss, () float32; zero without a labelled image.
    """
    corners, strides = cells
    total = raw.objectness.new_zeros(())
    positives = 0
    for index, labels in enumerate(boxes):
        if labels is None:
            continue
        targets = torch.from_numpy(labels.corners).to(corners.device)  # (G, 4)
        classes = torch.from_numpy(labels.classes).to(corners.device)  # (G,)
        predicted = decode_boxes(raw.boxes[index], corners, strides)  # (N, 4)
        objectness, logits = raw.objectness[index], raw.classes[index]
        cell, match, overlap = assign(
            predicted.detach(), objectness.detach(), logits.detach(), cells, targets, classes
        )
        wanted = torch.zeros_like(objectness)
        sure = torch.ones_like(overlap)
        if labels.scores is not None:
            sure = torch.from_numpy(labels.scores).to(corners.device)[match]
        wanted[cell] = sure
        counts = torch.ones_like(wanted) if labels.complete else wanted
        total = total + functional.binary_cross_entropy_with_logits(
            objectness, wanted, counts, reduction='sum'
        )
        if len(cell):
            positives += len(cell)
            # The class target is the IoU, so that scores rank boxes by quality.
            one_hot = functional.one_hot(classes[match], logits.shape[1]) * overlap[:, None]
            total = total + functional.binary_cross_entropy_with_logits(
                logits[cell], one_hot, sure[:, None].expand_as(one_hot), reduction='sum'
            )
            iou = paired_iou(predicted[cell], targets[match])
            total = total + _IOU_WEIGHT * (sure * (1 - iou**2)).sum()
    return total / mean_over_processes(total.new_tensor(float(positives))).clamp_min(1)


@torch.no_grad()
def assign(
    predicted: Tensor,
    objectness: Tensor,
    logits: Tensor,
    cells: tuple[Tensor, Tensor],
    targets: Tensor,
    classes: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """SimOTA: assign to each object its best cells; their number is the sum of its top IoUs.

    Returns:
        Assigned cells (M,), the object of each (M,), and their overlap (M,).
    """
    corners, strides = cells
    centres = corners + strides / 2  # (N, 2)
    middle = (targets[:, :2] + targets[:, 2:]) / 2  # (G, 2)
    offset = (centres[None] - middle[:, None]).abs().amax(dim=-1)  # (G, N)
    near = offset < _CENTRE_RADIUS * strides[:, 0]
    candidates = near.any(dim=0).nonzero()[:, 0]  # (M,)
    if not len(candidates):
        empty = candidates.new_zeros(0)
        return empty, empty, predicted.new_zeros(0)
    near = near[:, candidates]
    overlap = pairwise_iou(targets, predicted[candidates])  # (G, M)
    score = (logits[candidates].sigmoid() * objectness[candidates, None].sigmoid()).sqrt()
    one_hot = functional.one_hot(classes, logits.shape[1]).to(score.dtype)  # (G, C)
    # The sum over classes of BCE(score, one_hot), without a (G, M, C) tensor.
    log_no = (1 - score).clamp_min(1e-7).log()
    log_yes = score.clamp_min(1e-7).log()
    class_cost = -(log_no.sum(dim=1)[None] + one_hot @ (log_yes - log_no).T)
    cost = class_cost - 3.0 * overlap.clamp_min(1e-8).log() + _FAR * ~near
    wanted = torch.zeros_like(cost, dtype=torch.bool)
    top = overlap.topk(min(_CANDIDATES, overlap.shape[1]), dim=1).values
    for row, count in enumerate(top.sum(dim=1).int().clamp_min(1).tolist()):
        wanted[row, cost[row].topk(min(count, cost.shape[1]), largest=False).indices] = True
    wanted &= near
    # A cell assigned to two objects goes to the one of lower cost.
    best = torch.where(wanted, cost, torch.inf).min(dim=0)
    taken = best.values.isfinite().nonzero()[:, 0]
    match = best.indices[taken]
    return candidates[taken], match, overlap[match, taken]


def pairwise_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every pair, (A, B), of boxes (A, 4) and (B, 4)."""
    low = torch.maximum(a[:, None, :2], b[None, :, :2])
    high = torch.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clamp_min(0).prod(dim=-1)
    return shared / (_area(a)[:, None] + _area(b)[None] - shared).clamp_min(1e-6)


def paired_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (M,) of boxes (M, 4) with boxes (M, 4)."""
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    shared = (high - low).clamp_min(0).prod(dim=-1)
    return shared / (_area(a) + _area(b) - shared).clamp_min(1e-6)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=-1)


def distillation_loss(raw: RawDetections, teacher: RawDetections) -> Tensor:
    """Return the distillation loss to a teacher's raw detections, on every cell of every image.

    Bernoulli KL divergence of objectness and classes, and L1 of boxes; classes and boxes are
    weighted by the teacher's objectness.

    Returns:
        The loss, () float32, zero where student and teacher agree.
    """
    weight = teacher.objectness.sigmoid()
    mass = mean_over_processes(weight.sum()).clamp_min(1.0)
    objectness = _excess(raw.objectness, teacher.objectness).sum() / mass
    classes = (_excess(raw.classes, teacher.classes).sum(dim=2) * weight).sum() / mass
    boxes = ((raw.boxes - teacher.boxes).abs().sum(dim=2) * weight).sum() / mass
    return objectness + classes + boxes


def _excess(logits: Tensor, teacher: Tensor) -> Tensor:
    """Return the KL divergence of two Bernoulli distributions given by logits."""
    wanted = teacher.sigmoid()
    cross = functional.binary_cross_entropy_with_logits(logits, wanted, reduction='none')
    entropy = functional.binary_cross_entropy_with_logits(teacher, wanted, reduction='none')
    return cross - entropy
