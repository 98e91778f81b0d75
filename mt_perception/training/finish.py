# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The second stage of a cut: all that decides about bytes stands still, the remote half learns.

It learns from the robot's own network and the detector that look at the real image, and from
labels: a larger network that only imitated a smaller one could not become better than that.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mt_perception.network.bottleneck import Bottleneck
from mt_perception.network.multitask import Multitask
from mt_perception.network.picodet import PicoDet
from mt_perception.network.remote import Remote
from mt_perception.training.batches import Batch, SampleSet, batches
from mt_perception.training.cut_losses import detection_errors, relative_error
from mt_perception.training.cut_recipe import CutRecipe
from mt_perception.training.cut_stage import Losses, draw_rates, group
from mt_perception.training.losses.depth import gradient_loss, metric_loss
from mt_perception.training.losses.segmentation import (
    class_weights,
    dice_loss,
    segmentation_loss,
    spoken,
)
from mt_perception.training.processes import Place
from mt_perception.training.quick_kernels import quicken
from mt_perception.training.samples import count_pixels
from mt_perception.types import UNLABELLED

# Of the features; what is decided by them is what counts.
_TRUNK, _PYRAMID = 0.5, 0.25
_DICE = 0.4
_DEPTH_GRADIENT = 0.5
_DEPTH_IMITATED = 1.0
_DEPTH = 3.0
# From this share of labelled pixels on, an image's labels say how rare a class is.
_COMPLETE = 0.6


class Finishing:
    """What the remote half answers becomes what is true, and what the teachers say elsewhere.

    Args:
        recipe: what to do.
        network: the robot's whole network, trained.
        detector: the remote half's detector, as it was trained on real images.
        bottleneck: its decoder and the undoing of its gains learn.
        remote: learns.
        sets: labelled images; every pixel of those of the first set is labelled.
        place: which of how many processes this is.
    """

    def __init__(
        self,
        recipe: CutRecipe,
        network: Multitask,
        detector: PicoDet,
        bottleneck: Bottleneck,
        remote: Remote,
        sets: Sequence[SampleSet],
        place: Place,
    ) -> None:
        self.recipe = recipe
        self.place = place
        self.plan = recipe.finish
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.detector = copy.deepcopy(detector).requires_grad_(False).eval()
        quicken(self.network)
        quicken(self.detector)
        self.bottleneck = bottleneck
        self.remote = remote
        self.sets = sets
        classes = network.segmentation.predict.out_channels
        self.class_weights = class_weights(
            torch.from_numpy(count_pixels(sets[0].samples, classes))
        )

    def groups(self) -> list[dict[str, Any]]:
        """What learns, and how fast."""
        decoder, remote = self.bottleneck.decoder, self.remote
        decoder.requires_grad_(True)
        remote.requires_grad_(True)
        self.bottleneck.log_inverse.requires_grad_(True)
        known = (remote.trunk, remote.detector, remote.segmentation, remote.depth)
        return [
            group([*decoder.parameters(), self.bottleneck.log_inverse], self.plan.learning_rate),
            group(remote.wide.parameters(), self.plan.new_rate),
            group(
                [p for part in known for p in part.parameters()],
                self.plan.remote_rate,
                relative=True,
            ),
        ]

    def batches(self, steps: range) -> Iterator[Batch]:
        """The labelled images of some steps."""
        plan = self.plan
        return batches(
            self.sets, plan.canvases, plan.batch_size, self.recipe.seed, steps, self.place.share
        )

    def losses(self, batch: Batch, step: int) -> Losses:
        """What a batch costs."""
        image = batch.image.float()
        rate = draw_rates(self.recipe, self.plan, len(image), step, self.place)
        with self.recipe.autocast():
            with torch.no_grad():
                features = self.network.trunk(image)
                pyramid = self.detector.pyramid(image)
                sides = self.detector.head(*pyramid)
                dense = self.network.heads(features, ('segmentation', 'depth'))
            compressed = self.bottleneck(image, rate)
            seen, levels, found = self.remote(compressed.image)
        assert dense.segmentation is not None
        assert dense.depth is not None
        terms = {
            'trunk': _TRUNK * _features(seen, features),
            'pyramid': _PYRAMID * _features(levels, pyramid),
            'detection': detection_errors(found.detection, sides).mean(),
            'segmentation': self.segmentation_loss(found.segmentation, dense.segmentation, batch),
            'depth': _DEPTH * _depth(found.depth.float(), dense.depth.float(), batch),
        }
        loss = torch.stack(list(terms.values())).sum()
        bits = compressed.bits.detach().mean() / image[0, 0].numel()
        return Losses(loss, float(loss.detach()), float(bits))

    def segmentation_loss(self, found: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
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


def _depth(log_depth: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
    """Where depth was measured that counts, elsewhere what the robot's network says."""
    measured = batch.depth_per_focal
    imitated = (measured <= 0) & batch.inside
    error = ((log_depth - teacher).abs() * imitated).sum() / imitated.sum().clamp_min(1)
    loss = metric_loss(log_depth, measured) + _DEPTH_IMITATED * error
    return loss + _DEPTH_GRADIENT * gradient_loss(log_depth, measured)


def _features(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    pairs = zip(found, wanted, strict=True)
    return torch.stack([relative_error(f, t).mean() for f, t in pairs]).sum()
