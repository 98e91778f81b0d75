# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The first stage of a cut: encoder, entropy model and decoder learn, at a price for every bit."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mt_perception.network.bottleneck import Bottleneck
from mt_perception.network.multitask import Multitask
from mt_perception.network.picodet import PicoDet
from mt_perception.training.cpu_bfloat16 import quicken
from mt_perception.training.data.batches import SampleSet
from mt_perception.training.data.unlabelled_images import image_batches
from mt_perception.training.distributed import Place
from mt_perception.training.split.losses import DetectorEye, NetworkEye, imitation
from mt_perception.training.split.pca_init import start_from_principal_components
from mt_perception.training.split.recipe import CutRecipe
from mt_perception.training.split.stage import Losses, draw_rates, group


class Imitation:
    """What the two networks see in the decoder's image becomes what they see in the real one.

    They look in turn, one in each step: that is the same objective for half of the time.

    Args:
        recipe: what to do.
        network: the whole network, trained.
        detector: the detector that the remote half has besides, trained.
        bottleneck: what learns.
        sets: images; their labels are not used.
        place: which of how many processes this is.
    """

    def __init__(
        self,
        recipe: CutRecipe,
        network: Multitask,
        detector: PicoDet,
        bottleneck: Bottleneck,
        sets: Sequence[SampleSet],
        place: Place,
    ) -> None:
        self.recipe = recipe
        self.place = place
        self.plan = recipe.imitate
        self.bottleneck = bottleneck
        self.sets = sets
        self.eyes = (
            NetworkEye(copy.deepcopy(network), recipe.weights),
            DetectorEye(copy.deepcopy(detector), recipe.weights),
        )
        for eye in self.eyes:
            quicken(eye.requires_grad_(False).eval())
        self.prices = torch.tensor(recipe.bit_prices)
        # Where bits are dear errors are large. Rates shall teach alike, not the cheapest most.
        shares = self.prices.rsqrt()
        self.shares = shares / shares.mean()

    def start(self) -> None:
        """Give the bottleneck its first weights."""
        canvas = self.plan.canvases[:1]
        first = next(image_batches(self.sets, canvas, 32, self.recipe.seed + 1, range(1)))
        start_from_principal_components(self.bottleneck, first.float())

    def groups(self) -> list[dict[str, Any]]:
        """What learns, and how fast."""
        learns = self.bottleneck.requires_grad_(True)
        halves = [*learns.encoder.parameters(), *learns.decoder.parameters()]
        others = [learns.log_gain, learns.log_inverse, *learns.density.parameters()]
        rate = self.plan.learning_rate
        # The others are numbers of the order of one, each with a whole channel behind it.
        return [group(halves, rate), group(others, 5 * rate)]

    def batches(self, steps: range) -> Iterator[Tensor]:
        """The images of some steps."""
        plan = self.plan
        return image_batches(
            self.sets, plan.canvases, plan.batch_size, self.recipe.seed, steps, self.place.share
        )

    def losses(self, images: Tensor, step: int) -> Losses:
        """What a batch (B, 3, H, W) uint8 costs."""
        image = images.float()
        rate = draw_rates(self.recipe, self.plan, len(images), step, self.place)
        eye = self.eyes[step % len(self.eyes)]
        with self.recipe.autocast():
            error, compressed = imitation(eye, self.bottleneck, image, rate, self.recipe.weights)
        bits = compressed.bits / image[0, 0].numel()
        loss = ((error + self.prices[rate] * bits) * self.shares[rate]).mean()
        return Losses(loss, float(error.mean().detach()), float(bits.mean().detach()))
