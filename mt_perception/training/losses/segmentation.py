# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Segmentation losses: labelled pixels, and confident pixels of a slowly moving teacher."""

from __future__ import annotations

import torch
from torch import Tensor

from mt_perception.training.processes import mean_over_processes
from mt_perception.types import UNLABELLED

# A label of EXCLUDED + c says that a pixel is anything but class c.
EXCLUDED = 128


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
