# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The second stage of a cut: all that decides about bytes stands still, the remote half learns.

It learns from the robot's own network and the detector that look at the real image, and from
labels: a larger network that only imitated a smaller one could not become better than that. The
wide head has its own stage: `widen`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mt_perception.network.bottleneck import Bottleneck
from mt_perception.network.picodet import PicoDet
from mt_perception.network.remote import Remote
from mt_perception.training.batches import Batch
from mt_perception.training.cut_losses import detection_errors, relative_error
from mt_perception.training.cut_recipe import CutRecipe
from mt_perception.training.cut_stage import Losses, draw_rates, group
from mt_perception.training.lessons import Lessons
from mt_perception.training.processes import Place
from mt_perception.training.quick_kernels import quicken

# Of the features; what is decided by them is what counts.
_TRUNK, _PYRAMID = 0.5, 0.25


class Finishing:
    """What the remote half answers becomes what is true, and what the teachers say elsewhere.

    Args:
        recipe: what to do.
        lessons: what it learns from.
        detector: the remote half's detector, as it was trained on real images.
        bottleneck: its decoder and the undoing of its gains learn.
        remote: learns.
        place: which of how many processes this is.
    """

    def __init__(
        self,
        recipe: CutRecipe,
        lessons: Lessons,
        detector: PicoDet,
        bottleneck: Bottleneck,
        remote: Remote,
        place: Place,
    ) -> None:
        self.recipe = recipe
        self.place = place
        self.plan = recipe.finish
        self.lessons = lessons
        self.detector = copy.deepcopy(detector).requires_grad_(False).eval()
        quicken(self.detector)
        self.bottleneck = bottleneck
        self.remote = remote

    def groups(self) -> list[dict[str, Any]]:
        """What learns, and how fast."""
        decoder, remote = self.bottleneck.decoder, self.remote
        decoder.requires_grad_(True)
        known = (remote.trunk, remote.detector, remote.segmentation, remote.depth)
        for part in known:
            part.requires_grad_(True)
        self.bottleneck.log_inverse.requires_grad_(True)
        return [
            group([*decoder.parameters(), self.bottleneck.log_inverse], self.plan.learning_rate),
            group(
                [p for part in known for p in part.parameters()],
                self.plan.remote_rate,
                relative=True,
            ),
        ]

    def batches(self, steps: range) -> Iterator[Batch]:
        """The labelled images of some steps."""
        return self.lessons.batches(self.plan, steps)

    def losses(self, batch: Batch, step: int) -> Losses:
        """What a batch costs."""
        image = batch.image.float()
        rate = draw_rates(self.recipe, self.plan, len(image), step, self.place)
        with self.recipe.autocast():
            with torch.no_grad():
                taught = self.lessons.teach(image)
                pyramid = self.detector.pyramid(image)
                sides = self.detector.head(*pyramid)
            compressed = self.bottleneck(image, rate)
            eyes = self.remote.look(compressed.image)
            found = self.remote.own(eyes)
        truth = self.lessons.truth
        terms = {
            'trunk': _TRUNK * _features(eyes.features, taught.features),
            'pyramid': _PYRAMID * _features(eyes.pyramid, pyramid),
            'detection': detection_errors(found.detection, sides).mean(),
            'segmentation': truth.classes(found.segmentation, taught.segmentation, batch),
            'depth': truth.depth(found.depth, taught.depth, batch),
        }
        loss = torch.stack(list(terms.values())).sum()
        bits = compressed.bits.detach().mean() / image[0, 0].numel()
        return Losses(loss, float(loss.detach()), float(bits))


def _features(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    pairs = zip(found, wanted, strict=True)
    return torch.stack([relative_error(f, t).mean() for f, t in pairs]).sum()
