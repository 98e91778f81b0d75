# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation losses: cross entropy, Dice, and soft labels of a teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mt_perception.training.distributed import mean_over_processes
from mt_perception.types import UNLABELLED

# A label of EXCLUDED + c means any class but c.
EXCLUDED = 128
# Soft labels of a pixel sum to 255, except for rounding; borders of the image sum to less.
_HALF = 128

_STRONGEST = 4.0
"""Limit on the ratio of a class weight to the median weight, both ways."""


def segmentation_loss(logits: Tensor, labels: Tensor, class_weights: Tensor) -> Tensor:
    """Return the cross entropy over the labelled pixels.

    Args:
        logits: (B, C, h, w).
        labels: (B, h, w) int64: a class; EXCLUDED + a class that the pixel is not; 255
            is ignored.
        class_weights: (C,).

    Returns:
        The weighted mean, () float32; zero where nothing is labelled.
    """
    known, excluded = labels < EXCLUDED, (labels >= EXCLUDED) & (labels != UNLABELLED)
    classes = torch.where(known, labels, torch.where(excluded, labels - EXCLUDED, 0))
    chosen = logits.log_softmax(dim=1).gather(1, classes[:, None])[:, 0]
    # log(1 - p) for excluded classes; the floor bounds the gradient where p is close to 1.
    others = (-torch.expm1(chosen)).clamp_min(1e-4).log()
    each = -torch.where(excluded, others, chosen)
    weight = class_weights[classes] * (known | excluded)
    return (each * weight).sum() / mean_over_processes(weight.sum()).clamp_min(1.0)


@torch.no_grad()
def confident_labels(logits: Tensor, labels: Tensor, inside: Tensor, least: float) -> Tensor:
    """Return pseudo labels: a teacher's confident predictions on unlabelled pixels.

    Args:
        logits: the teacher's, (B, C, h, w).
        labels: (B, h, w); only pixels that are 255 here get a pseudo label.
        inside: (B, h, w) bool, False on the border around an image.
        least: lowest probability of a pseudo label.

    Returns:
        (B, h, w) int64, 255 elsewhere.
    """
    probability, label = logits.softmax(dim=1).max(dim=1)
    sure = (probability >= least) & inside & (labels == UNLABELLED)
    return torch.where(sure, label, UNLABELLED)


def class_weights(pixels: Tensor) -> Tensor:
    """Return class weights: inverse square root of pixel counts, clipped, with mean 1.

    Args:
        pixels: (C,) number of labelled pixels.
    """
    weights = pixels.clamp_min(1).double().pow(-0.5)
    middle = weights.median()
    weights = weights.clamp(middle / _STRONGEST, middle * _STRONGEST)
    return (weights / weights.mean()).float()


def dice_loss(logits: Tensor, labels: Tensor, least: int = 50) -> Tensor:
    """Return one minus the Dice overlap of each class over the batch (arXiv 1606.04797).

    Every class has the same weight, as in mean IoU.

    Args:
        logits: (B, C, h, w).
        labels: (B, h, w) int64; only plain classes count.
        least: lowest number of pixels of a class in the batch.

    Returns:
        The mean over the classes of the batch, () float32; zero without any.
    """
    known = labels < logits.shape[1]
    truth = functional.one_hot(torch.where(known, labels, 0), logits.shape[1])
    truth = truth.permute(0, 3, 1, 2) * known[:, None]
    guess = logits.softmax(dim=1) * known[:, None]
    both = (guess * truth).sum(dim=(0, 2, 3))
    either = (guess + truth).sum(dim=(0, 2, 3))
    present = truth.sum(dim=(0, 2, 3)) >= least
    missed = (1 - 2 * both / either.clamp_min(1.0)) * present
    return missed.sum() / present.sum().clamp_min(1)


def with_soft_labels(soft_labels: Tensor) -> Tensor:
    """Return which images have soft labels, (B,) bool, from (B, C, h, w)."""
    return (soft_labels > 0).flatten(1).any(dim=1)


def read_soft_labels(soft_labels: Tensor) -> tuple[Tensor, Tensor]:
    """Convert soft labels to probabilities.

    Args:
        soft_labels: (B, C, h, w) uint8, probabilities times 255; all zero where missing.

    Returns:
        Mask of pixels with soft labels, (B, h, w) bool, and probabilities (B, C, h, w) float32.
    """
    sums = soft_labels.sum(dim=1, dtype=torch.float32)
    return sums > _HALF, soft_labels.float() / sums.clamp_min(1.0)[:, None]


def soft_label_loss(logits: Tensor, soft_labels: Tensor, labels: Tensor) -> Tensor:
    """Return the KL divergence from labels and, where there are none, from soft labels.

    Images with soft labels have labels of some classes only. A loss over labelled pixels alone
    would distort the class frequencies; labels and soft labels together preserve them.

    Args:
        logits: (B, C, h, w).
        soft_labels: (B, C, h, w) uint8, probabilities times 255; all zero where missing.
        labels: (B, h, w) int64; only plain classes of images with soft labels count.

    Returns:
        The mean over labelled and soft-labelled pixels, () float32; zero without any.
    """
    covered, soft = read_soft_labels(soft_labels)
    known = (labels < logits.shape[1]) & with_soft_labels(soft_labels)[:, None, None]
    used = known | (covered & (labels == UNLABELLED))
    one_hot = functional.one_hot(torch.where(known, labels, 0), logits.shape[1])
    target = torch.where(known[:, None], one_hot.permute(0, 3, 1, 2).float(), soft)
    pointwise = functional.kl_div(logits.log_softmax(dim=1), target, reduction='none')
    return (pointwise.sum(dim=1) * used).sum() / used.sum().clamp_min(1)
