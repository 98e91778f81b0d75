# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What the later stages of a cut learn from: labels, and what the robot's network says."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from torch import Tensor

from mt_perception.network.multitask import Multitask
from mt_perception.network.trunk import Features
from mt_perception.training.batches import Batch, SampleSet, batches
from mt_perception.training.cut_recipe import Stage
from mt_perception.training.dense_truth import DenseTruth
from mt_perception.training.processes import Place
from mt_perception.training.quick_kernels import quicken


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
