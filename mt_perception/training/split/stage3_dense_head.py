# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The third stage of a cut: the wide head learns to be right by itself, all else stands still.

A head that only corrects another one learns nothing: what the other has trained on it knows by
heart, and there is nothing to correct. Trained apart, each errs in its own way, and both together
are better than either. That is true of classes. Of depth, for which there are few frames, the mean
of two opinions was worse (AbsRel 0.118) than an opinion and its correction (0.106).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mt_perception.network.bottleneck import Bottleneck
from mt_perception.network.remote import Remote
from mt_perception.training.data.batches import Batch
from mt_perception.training.distributed import Place
from mt_perception.training.split.recipe import CutRecipe
from mt_perception.training.split.stage import Losses, draw_rates, group
from mt_perception.training.split.stage2_decoder import Lessons

_DECAY = 0.02
_DROPPED = 0.1


class Widening:
    """Classes by the wide head alone, depth by the sum of both heads.

    Args:
        recipe: what to do.
        lessons: what it learns from.
        bottleneck: trained.
        remote: its wide head learns.
        place: which of how many processes this is.
    """

    def __init__(
        self,
        recipe: CutRecipe,
        lessons: Lessons,
        bottleneck: Bottleneck,
        remote: Remote,
        place: Place,
    ) -> None:
        self.recipe = recipe
        self.place = place
        self.plan = recipe.widen
        self.lessons = lessons
        self.bottleneck = bottleneck
        self.remote = remote

    def groups(self) -> list[dict[str, Any]]:
        """What learns, and how fast."""
        learns = self.remote.wide.requires_grad_(True).parameters()
        return [group(learns, self.plan.learning_rate) | {'weight_decay': _DECAY}]

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
                compressed = self.bottleneck(image, rate)
                eyes = self.remote.look(compressed.image)
                own = self.remote.depth(eyes.features)[:, 0]
            added = self.remote.wide(_dropped(eyes.features), _dropped(eyes.backbone))
        truth = self.lessons.truth
        loss = truth.classes(added[:, :-1], taught.segmentation, batch)
        loss = loss + truth.depth(own + added[:, -1], taught.depth, batch)
        bits = compressed.bits.mean() / image[0, 0].numel()
        return Losses(loss, float(loss.detach()), float(bits))


def _dropped(levels: Sequence[Tensor]) -> list[Tensor]:
    return [functional.dropout2d(level, _DROPPED) for level in levels]
