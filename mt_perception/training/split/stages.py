# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The three stages of a split's training (after Ladon).

Stage 1 trains encoder, entropy model and decoder: features and outputs of frozen networks on the
decoded image are distilled from those on the original image, at a price per bit. Stage 2 freezes
everything that determines the payload and trains the decoder and the remote network. Stage 3
trains the remote network's additional dense head alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.bottleneck import Bottleneck
from mt_perception.network.multitask import Multitask
from mt_perception.network.picodet import PicoDet
from mt_perception.network.remote import Remote
from mt_perception.training.cpu_bfloat16 import autocast, prepare_for_bfloat16
from mt_perception.training.data.batches import Batch, SampleSet, image_batches
from mt_perception.training.distributed import Process
from mt_perception.training.split.losses import (
    DenseTeacher,
    DetectorTeacher,
    NetworkTeacher,
    detection_errors,
    feature_distillation,
    relative_error,
)
from mt_perception.training.split.pca_init import start_from_principal_components
from mt_perception.training.split.split_recipe import SplitRecipe, Stage

AnyBatch = TypeVar('AnyBatch')

# Weights of feature errors in stage 2, relative to the tasks' losses.
_TRUNK, _PYRAMID = 0.5, 0.25
_DENSE_HEAD_DECAY = 0.02
_DENSE_HEAD_DROPOUT = 0.1


class Losses(NamedTuple):
    """Result of the forward pass of one step."""

    loss: Tensor  # ()
    error: float
    bits_per_pixel: float


class SplitStage(Protocol[AnyBatch]):
    """One stage of the training."""

    spec: Stage
    process: Process

    def groups(self) -> list[dict[str, Any]]:
        """Unfreeze the trained parameters and return their groups for `RelativeAdamW`."""

    def batches(self, steps: range) -> Iterator[AnyBatch]:
        """Return the batches of some steps of the run."""

    def losses(self, batch: AnyBatch, step: int) -> Losses:
        """Compute the losses of a batch at a step of the stage."""


class BottleneckStage:
    """Stage 1: distils two frozen networks through the bottleneck.

    The two networks alternate between steps, which has the same optimum at half of the time.

    Args:
        recipe: the recipe.
        network: the complete network, trained.
        detector: the remote network's second detector, trained.
        bottleneck: trained in place.
        sets: images; labels are not used.
        process: this process.
    """

    def __init__(
        self,
        recipe: SplitRecipe,
        network: Multitask,
        detector: PicoDet,
        bottleneck: Bottleneck,
        sets: Sequence[SampleSet],
        process: Process,
    ) -> None:
        self.recipe = recipe
        self.process = process
        self.spec = recipe.bottleneck
        self.bottleneck = bottleneck
        self.sets = sets
        self.teachers = (
            NetworkTeacher(copy.deepcopy(network), recipe.weights),
            DetectorTeacher(copy.deepcopy(detector), recipe.weights),
        )
        for teacher in self.teachers:
            prepare_for_bfloat16(teacher.requires_grad_(False).eval())
        self.prices = torch.tensor(recipe.bit_prices)
        # Errors are larger where bits are expensive. The scale gives all rates a similar loss.
        scale = self.prices.rsqrt()
        self.scale = scale / scale.mean()

    def start(self) -> None:
        """Initialise the bottleneck."""
        canvas = self.spec.canvases[:1]
        first = next(image_batches(self.sets, canvas, 32, self.recipe.seed + 1, range(1)))
        start_from_principal_components(self.bottleneck, first.float())

    def groups(self) -> list[dict[str, Any]]:
        """Unfreeze the trained parameters and return their groups for `RelativeAdamW`."""
        trained = self.bottleneck.requires_grad_(True)
        layers = [*trained.encoder.parameters(), *trained.decoder.parameters()]
        others = [trained.log_gain, trained.log_inverse, *trained.density.parameters()]
        rate = self.spec.learning_rate
        # Gains and densities are of order one, and each sums gradients over a whole channel.
        return [_group(layers, rate), _group(others, 5 * rate)]

    def batches(self, steps: range) -> Iterator[Tensor]:
        """Return the images of some steps, (B, 3, H, W) uint8."""
        spec = self.spec
        return image_batches(
            self.sets, spec.canvases, spec.batch_size, self.recipe.seed, steps, self.process.share
        )

    def losses(self, images: Tensor, step: int) -> Losses:
        """Compute the losses of images (B, 3, H, W) uint8."""
        image = images.float()
        rate = _draw_rates(self.recipe, self.spec, len(images), step, self.process)
        teacher = self.teachers[step % len(self.teachers)]
        with autocast(self.recipe.precision):
            error, compressed = feature_distillation(
                teacher, self.bottleneck, image, rate, self.recipe.weights
            )
        bits = compressed.bits / image[0, 0].numel()
        loss = ((error + self.prices[rate] * bits) * self.scale[rate]).mean()
        return Losses(loss, float(error.mean().detach()), float(bits.mean().detach()))


class DecoderStage:
    """Stage 2: decoder, gain inverses, trunk and heads of the remote network are fine-tuned.

    Targets are labels, and the teachers' predictions where there is no label.

    Args:
        recipe: the recipe.
        teacher: labelled images and the network's predictions.
        detector: the remote network's detector before the stage; its teacher.
        bottleneck: its decoder and gain inverses are trained in place.
        remote: trained in place.
        process: this process.
    """

    def __init__(
        self,
        recipe: SplitRecipe,
        teacher: DenseTeacher,
        detector: PicoDet,
        bottleneck: Bottleneck,
        remote: Remote,
        process: Process,
    ) -> None:
        self.recipe = recipe
        self.process = process
        self.spec = recipe.decoder
        self.teacher = teacher
        self.detector = copy.deepcopy(detector).requires_grad_(False).eval()
        prepare_for_bfloat16(self.detector)
        self.bottleneck = bottleneck
        self.remote = remote

    def groups(self) -> list[dict[str, Any]]:
        """Unfreeze the trained parameters and return their groups for `RelativeAdamW`."""
        remote = self.remote
        pretrained = nn.ModuleList(
            (remote.trunk, remote.detector, remote.segmentation, remote.depth)
        ).requires_grad_(True)
        decoder = self.bottleneck.decoder.requires_grad_(True)
        inverse = self.bottleneck.log_inverse
        inverse.requires_grad_(True)
        return [
            _group([*decoder.parameters(), inverse], self.spec.learning_rate),
            _group(pretrained.parameters(), self.spec.remote_rate, relative=True),
        ]

    def batches(self, steps: range) -> Iterator[Batch]:
        """Return the labelled images of some steps."""
        return self.teacher.batches(self.spec, steps)

    def losses(self, batch: Batch, step: int) -> Losses:
        """Compute the losses of a batch."""
        image = batch.image.float()
        rate = _draw_rates(self.recipe, self.spec, len(image), step, self.process)
        with autocast(self.recipe.precision):
            with torch.no_grad():
                targets = self.teacher.targets(image)
                pyramid = self.detector.pyramid(image)
                sides = self.detector.head(*pyramid)
            compressed = self.bottleneck(image, rate)
            features = self.remote.extract(compressed.image)
            outputs = self.remote.base_outputs(features)
        labels = self.teacher.losses
        terms = (
            _TRUNK * _feature_error(features.features, targets.features),
            _PYRAMID * _feature_error(features.pyramid, pyramid),
            detection_errors(outputs.detection, sides).mean(),
            labels.segmentation(outputs.segmentation, targets.segmentation, batch),
            labels.depth(outputs.depth, targets.depth, batch),
        )
        return _mean_bits(torch.stack(terms).sum(), compressed.bits, image)


class DenseHeadStage:
    """Stage 3: the remote network's wide dense head is trained, everything else is frozen.

    Segmentation is trained by the wide head alone: the base head fits its training images, so a
    correction of it has nothing left to learn, and two heads with independent errors are better
    than either. Depth has few frames; there the wide head learns a correction of the base head
    (AbsRel 0.106, against 0.118 for the mean of two independent heads).

    Args:
        recipe: the recipe.
        teacher: labelled images and the network's predictions.
        bottleneck: trained before.
        remote: its wide head is trained in place.
        process: this process.
    """

    def __init__(
        self,
        recipe: SplitRecipe,
        teacher: DenseTeacher,
        bottleneck: Bottleneck,
        remote: Remote,
        process: Process,
    ) -> None:
        self.recipe = recipe
        self.process = process
        self.spec = recipe.dense_head
        self.teacher = teacher
        self.bottleneck = bottleneck
        self.remote = remote

    def groups(self) -> list[dict[str, Any]]:
        """Unfreeze the trained parameters and return their groups for `RelativeAdamW`."""
        return [dense_head_group(self.remote, self.spec)]

    def batches(self, steps: range) -> Iterator[Batch]:
        """Return the labelled images of some steps."""
        return self.teacher.batches(self.spec, steps)

    def losses(self, batch: Batch, step: int) -> Losses:
        """Compute the losses of a batch."""
        image = batch.image.float()
        rate = _draw_rates(self.recipe, self.spec, len(image), step, self.process)
        with autocast(self.recipe.precision):
            with torch.no_grad():
                targets = self.teacher.targets(image)
                compressed = self.bottleneck(image, rate)
                features = self.remote.extract(compressed.image)
                base_depth = self.remote.depth(features.features)[:, 0]
            wide = self.remote.wide(
                channel_dropout(features.features), channel_dropout(features.backbone)
            )
        labels = self.teacher.losses
        loss = labels.segmentation(wide[:, :-1], targets.segmentation, batch)
        loss = loss + labels.depth(base_depth + wide[:, -1], targets.depth, batch)
        return _mean_bits(loss, compressed.bits, image)


def dense_head_group(remote: Remote, spec: Stage) -> dict[str, Any]:
    """Unfreeze the wide head and return its parameter group for `RelativeAdamW`."""
    trained = remote.wide.requires_grad_(True).parameters()
    return _group(trained, spec.learning_rate) | {'weight_decay': _DENSE_HEAD_DECAY}


def _mean_bits(loss: Tensor, bits: Tensor, image: Tensor) -> Losses:
    return Losses(loss, float(loss.detach()), float(bits.detach().mean() / image[0, 0].numel()))


def _feature_error(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    pairs = zip(found, wanted, strict=True)
    return torch.stack([relative_error(f, t).mean() for f, t in pairs]).sum()


def channel_dropout(levels: Sequence[Tensor]) -> list[Tensor]:
    """Drop channels of the features that the wide head reads, while it is trained."""
    return [functional.dropout2d(level, _DENSE_HEAD_DROPOUT) for level in levels]


def _group(
    parameters: Iterable[nn.Parameter], rate: float, relative: bool = False
) -> dict[str, Any]:
    return {
        'params': list(parameters),
        'lr': rate,
        'peak': rate,
        'weight_decay': 0.0,
        'relative': relative,
    }


def _draw_rates(
    recipe: SplitRecipe, spec: Stage, count: int, step: int, process: Process
) -> Tensor:
    """Draw the compression rates of a step's images, (B,) int64.

    The random state is seeded from step and process alone, so that a run can be resumed.
    """
    torch.manual_seed((recipe.seed * 1_000_003 + step) * process.count + process.rank)
    shares = spec.rate_shares or (1.0,) * len(recipe.bit_prices)
    return torch.multinomial(torch.tensor(shares), count, replacement=True)
