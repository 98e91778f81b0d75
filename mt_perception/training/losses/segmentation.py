# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation losses: labelled pixels, overlap of classes, what teachers say of the rest."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mt_perception.training.distributed import mean_over_processes
from mt_perception.types import UNLABELLED

# A label of EXCLUDED + c says that a pixel is anything but class c.
EXCLUDED = 128
# Of 255: a probability's sum over the classes is all of it, less what was rounded off.
_HALF = 128


def segmentation_loss(logits: Tensor, labels: Tensor, class_weights: Tensor) -> Tensor:
    """Cross entropy over the labelled pixels.

    Args:
        logits: (B, C, h, w).
        labels: (B, h, w) int64: a class; EXCLUDED + a class, which the pixel is not; 255,
            ignored.
        class_weights: (C,).

    Returns:
        The weighted mean, () float32; zero where nothing is labelled.
    """
    known, excluded = labels < EXCLUDED, (labels >= EXCLUDED) & (labels != UNLABELLED)
    classes = torch.where(known, labels, torch.where(excluded, labels - EXCLUDED, 0))
    chosen = logits.log_softmax(dim=1).gather(1, classes[:, None])[:, 0]
    # log(1 - p) for what a pixel is not; the floor keeps a sure mistake's gradient finite.
    others = (-torch.expm1(chosen)).clamp_min(1e-4).log()
    each = -torch.where(excluded, others, chosen)
    weight = class_weights[classes] * (known | excluded)
    return (each * weight).sum() / mean_over_processes(weight.sum()).clamp_min(1.0)


@torch.no_grad()
def confident_labels(logits: Tensor, labels: Tensor, inside: Tensor, least: float) -> Tensor:
    """Give labels for unlabelled pixels of which a teacher is sure.

    Args:
        logits: the teacher's, (B, C, h, w).
        labels: (B, h, w); only pixels that are 255 here get a label.
        inside: (B, h, w) bool, False on the border around an image.
        least: the probability from which the teacher is believed.

    Returns:
        (B, h, w) int64, 255 elsewhere.
    """
    probability, label = logits.softmax(dim=1).max(dim=1)
    sure = (probability >= least) & inside & (labels == UNLABELLED)
    return torch.where(sure, label, UNLABELLED)


def class_weights(pixels: Tensor, strongest: float = 4.0) -> Tensor:
    """Weigh classes by the inverse square root of their pixels, clipped, with mean one.

    Args:
        pixels: (C,) number of labelled pixels.
        strongest: largest ratio of a weight to the median weight, and of that to the least.
    """
    weights = pixels.clamp_min(1).double().pow(-0.5)
    middle = weights.median()
    weights = weights.clamp(middle / strongest, middle * strongest)
    return (weights / weights.mean()).float()


def dice_loss(logits: Tensor, labels: Tensor, least: int = 50) -> Tensor:
    """One minus the Dice overlap of each class over the whole batch (arXiv 1606.04797).

    Cross entropy counts pixels; this counts classes, as mean IoU does.

    Args:
        logits: (B, C, h, w).
        labels: (B, h, w) int64; only plain classes count.
        least: pixels that a class needs in the batch to be judged.

    Returns:
        The mean over the classes that are there, () float32; zero without any.
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
    """Tell of which images a teacher was asked, (B,) bool, from (B, C, h, w) soft_labels."""
    return (soft_labels > 0).flatten(1).any(dim=1)


def read_soft_labels(soft_labels: Tensor) -> tuple[Tensor, Tensor]:
    """Read a teacher's soft_labels.

    Args:
        soft_labels: (B, C, h, w) uint8 probabilities of 255; all zero where there is none.

    Returns:
        Where there is one, (B, h, w) bool, and the probabilities, (B, C, h, w) float32.
    """
    sums = soft_labels.sum(dim=1, dtype=torch.float32)
    # Below half lies the border of the image, where the teacher was not.
    return sums > _HALF, soft_labels.float() / sums.clamp_min(1.0)[:, None]


def soft_label_loss(logits: Tensor, soft_labels: Tensor, labels: Tensor) -> Tensor:
    """The divergence from labels and, where there are none, from a teacher's probabilities.

    In such images only some classes have labels. A loss over the labelled pixels alone would
    teach that every second thing is a cabinet; together all pixels keep their natural shares.

    Args:
        logits: (B, C, h, w).
        soft_labels: (B, C, h, w) uint8 probabilities of 255; all zero where there is none.
        labels: (B, h, w) int64; plain classes count, in images that the teacher was asked about.

    Returns:
        The mean over these pixels, () float32; zero without any.
    """
    there, theirs = read_soft_labels(soft_labels)
    known = (labels < logits.shape[1]) & with_soft_labels(soft_labels)[:, None, None]
    judged = known | (there & (labels == UNLABELLED))
    certain = functional.one_hot(torch.where(known, labels, 0), logits.shape[1])
    target = torch.where(known[:, None], certain.permute(0, 3, 1, 2).float(), theirs)
    pointwise = functional.kl_div(logits.log_softmax(dim=1), target, reduction='none')
    return (pointwise.sum(dim=1) * judged).sum() / judged.sum().clamp_min(1)
