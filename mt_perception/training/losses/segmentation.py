# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation losses: labelled pixels, and confident pixels of a slowly moving teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from mt_perception.types import UNLABELLED


def segmentation_loss(logits: Tensor, labels: Tensor, class_weights: Tensor) -> Tensor:
    """Cross entropy over the labelled pixels.

    Args:
        logits: (B, C, h, w).
        labels: (B, h, w) int64, 255 ignored.
        class_weights: (C,).

    Returns:
        The weighted mean, () float32; zero where nothing is labelled.
    """
    weight = class_weights[labels.clamp(max=len(class_weights) - 1)] * (labels != UNLABELLED)
    each = functional.cross_entropy(logits, labels, ignore_index=UNLABELLED, reduction='none')
    return (each * weight).sum() / weight.sum().clamp_min(1.0)


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
