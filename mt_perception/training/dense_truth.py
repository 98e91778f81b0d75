# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What classes and depth of a remote half cost: labels first, then teachers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from mt_perception.network.multitask import Multitask
from mt_perception.training.batches import Batch, SampleSet
from mt_perception.training.losses.depth import gradient_loss, metric_loss
from mt_perception.training.losses.segmentation import (
    class_weights,
    dice_loss,
    segmentation_loss,
    spoken,
)
from mt_perception.training.samples import count_pixels
from mt_perception.types import UNLABELLED

_DICE = 0.4
_DEPTH = 3.0
_DEPTH_GRADIENT = 0.5
_DEPTH_IMITATED = 1.0
# From this share of labelled pixels on, an image's labels say how rare a class is.
_COMPLETE = 0.6


class DenseTruth:
    """What is true of pixels, as far as somebody knows it.

    Args:
        network: the robot's; its classes are told apart.
        sets: labelled images; every pixel of those of the first set is labelled.
    """

    def __init__(self, network: Multitask, sets: Sequence[SampleSet]) -> None:
        classes = network.segmentation.predict.out_channels
        pixels = count_pixels(sets[0].samples, classes)
        self.class_weights = class_weights(torch.from_numpy(pixels))

    def classes(self, found: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """What classes cost.

        Args:
            found: logits of the remote half, (B, C, h, w).
            teacher: the robot's network's.
            batch: labels, and what the pixel teacher says.
        """
        logits, labels = found.float(), batch.semantic
        known = labels < logits.shape[1]
        # Where some classes alone are labelled, a loss over the labelled pixels alone would teach
        # that every second thing is a cabinet: of the rest, what the pixel teacher says counts,
        # and where nobody asked it, what the robot's network says.
        certain = functional.one_hot(torch.where(known, labels, 0), logits.shape[1])
        said = teacher.float().softmax(dim=1)
        if batch.opinion is not None:
            there, theirs = spoken(batch.opinion)
            said = torch.where(there[:, None], theirs, said)
        target = torch.where(known[:, None], certain.permute(0, 3, 1, 2).float(), said)
        each = functional.kl_div(logits.log_softmax(dim=1), target, reduction='none').sum(dim=1)
        inside = batch.inside
        loss = (each * inside).sum() / inside.sum().clamp_min(1)
        shares = (known & inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp_min(1)
        complete = torch.where((shares >= _COMPLETE)[:, None, None], labels, UNLABELLED)
        loss = loss + segmentation_loss(logits, complete, self.class_weights)
        return loss + _DICE * dice_loss(logits, complete)

    def depth(self, found: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """What depth costs: where it was measured that counts, elsewhere what the teacher says.

        Args:
            found: log of (metres / focal length in pixels) by the remote half, (B, h, w).
            teacher: by the robot's network on the real image.
            batch: measurements.
        """
        log_depth, measured = found.float(), batch.depth_per_focal
        imitated = (measured <= 0) & batch.inside
        error = (log_depth - teacher.float()).abs() * imitated
        loss = metric_loss(log_depth, measured)
        loss = loss + _DEPTH_IMITATED * error.sum() / imitated.sum().clamp_min(1)
        return _DEPTH * (loss + _DEPTH_GRADIENT * gradient_loss(log_depth, measured))
