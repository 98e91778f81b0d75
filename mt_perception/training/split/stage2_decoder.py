# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Stage 2 of a split: encoder and entropy model are frozen, the remote half is fine-tuned."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mt_perception.network.bottleneck import Bottleneck
from mt_perception.network.multitask import Multitask
from mt_perception.network.picodet import PicoDet
from mt_perception.network.remote import Remote
from mt_perception.network.trunk import Features
from mt_perception.training.cpu_bfloat16 import quicken
from mt_perception.training.data.batches import Batch, SampleSet, batches
from mt_perception.training.distributed import Place
from mt_perception.training.split.losses import DenseTruth, detection_errors, relative_error
from mt_perception.training.split.recipe import CutRecipe, Stage
from mt_perception.training.split.stage import Losses, draw_rates, group


class Taught(NamedTuple):
    """What the robot's network sees in real images."""

    features: Features
    segmentation: Tensor  # (B, C, H/4, W/4) logits
    depth: Tensor  # (B, H/4, W/4) log of (metres / focal length in pixels)


class Lessons:
    """Images with labels, and a teacher for what nobody has labelled.

    Args:
        network: the robot's whole network, trained.
        sets: labelled images; every pixel of those of the first set is labelled.
        seed: of the order of images.
        place: which of how many processes this is.
    """

    def __init__(
        self, network: Multitask, sets: Sequence[SampleSet], seed: int, place: Place
    ) -> None:
        self.truth = DenseTruth(network, sets)
        self._network = copy.deepcopy(network).requires_grad_(False).eval()
        quicken(self._network)
        self._sets = sets
        self._seed = seed
        self._place = place

    def batches(self, plan: Stage, steps: range) -> Iterator[Batch]:
        """The labelled images of some steps."""
        share = self._place.share
        return batches(self._sets, plan.canvases, plan.batch_size, self._seed, steps, share)

    def teach(self, image: Tensor) -> Taught:
        """Look at real images, (B, 3, H, W) float BGR, 0 to 255."""
        features: Features = self._network.trunk(image)
        dense = self._network.heads(features, ('segmentation', 'depth'))
        assert dense.segmentation is not None
        assert dense.depth is not None
        return Taught(features, dense.segmentation, dense.depth)


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
