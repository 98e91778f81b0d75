# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of the split: features and outputs of networks on decoded images, and dense labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.bottleneck import Bottleneck, Compressed
from mt_perception.network.multitask import Multitask
from mt_perception.network.picodet import PicoDet, RawSides
from mt_perception.training.data.batches import Batch, SampleSet
from mt_perception.training.data.samples import count_pixels
from mt_perception.training.losses.depth import gradient_loss, metric_loss
from mt_perception.training.losses.segmentation import (
    class_weights,
    dice_loss,
    segmentation_loss,
    spoken,
)
from mt_perception.training.split.recipe import ErrorWeights
from mt_perception.types import UNLABELLED

_SMALLEST_MASS = 1.0


class Seen(NamedTuple):
    """What a network makes of images: weighted features, and answers for those who read them."""

    features: tuple[tuple[float, Tensor], ...]
    answers: tuple[Tensor, ...]


class Eye(Protocol):
    """A frozen network that looks at images, (B, 3, H, W) float BGR, 0 to 255."""

    def look(self, image: Tensor) -> Seen:
        """Look at images."""

    def answer_errors(self, found: Seen, wanted: Seen) -> Tensor:
        """How far answers are from those wanted, for each of B images."""


class NetworkEye(nn.Module):
    """The robot's own network: its backbone, its pyramid, and the dense heads' answers."""

    def __init__(self, network: Multitask, weights: ErrorWeights) -> None:
        super().__init__()
        self.network = network
        self.weights = weights

    def look(self, image: Tensor) -> Seen:
        """Look at images."""
        backbone = self.network.trunk.backbone(image)
        pyramid = self.network.trunk.pyramid(*backbone)
        dense = self.network.heads(pyramid, ('segmentation', 'depth'))
        assert dense.segmentation is not None
        assert dense.depth is not None
        features = [*zip(self.weights.backbone, backbone, strict=True)]
        # The finest level of the pyramid is the backbone's own.
        features += [(self.weights.pyramid, level) for level in pyramid[1:]]
        return Seen(tuple(features), (dense.segmentation, dense.depth))

    def answer_errors(self, found: Seen, wanted: Seen) -> Tensor:
        """Divergence of the classes, and twice the mean error of the logarithm of depth."""
        segmentation = _divergence(found.answers[0], wanted.answers[0], 1).mean(dim=(1, 2))
        depth = (found.answers[1].float() - wanted.answers[1].float()).abs().mean(dim=(1, 2))
        return segmentation + 2 * depth


class DetectorEye(nn.Module):
    """A second detector: its backbone, its pyramid, and its detections."""

    def __init__(self, detector: PicoDet, weights: ErrorWeights) -> None:
        super().__init__()
        self.detector = detector
        self.weights = weights

    def look(self, image: Tensor) -> Seen:
        """Look at images."""
        backbone = self.detector.backbone(image)
        pyramid = self.detector.neck(*backbone[1:])
        features = tuple((self.weights.detector, level) for level in (*backbone, *pyramid))
        return Seen(features, tuple(self.detector.head(*pyramid)))

    def answer_errors(self, found: Seen, wanted: Seen) -> Tensor:
        """See `detection_errors`."""
        return detection_errors(RawSides(*found.answers), RawSides(*wanted.answers))


def imitation(
    eye: Eye, bottleneck: Bottleneck, image: Tensor, rate: Tensor, weights: ErrorWeights
) -> tuple[Tensor, Compressed]:
    """How far what is seen in the decoder's image is from what is seen in the real one.

    Args:
        eye: who looks.
        bottleneck: what learns.
        image: (B, 3, H, W) float BGR, 0 to 255.
        rate: (B,) int64.
        weights: of the kinds of errors.

    Returns:
        Errors (B,), and what came out of the bottleneck.
    """
    with torch.no_grad():
        wanted = eye.look(image)
    compressed = bottleneck(image, rate)
    found = eye.look(compressed.image)
    error = weights.pixels * relative_error(compressed.image, image)
    for (weight, ours), (_, theirs) in zip(found.features, wanted.features, strict=True):
        error = error + weight * relative_error(ours, theirs)
    return error + weights.answers * eye.answer_errors(found, wanted), compressed


def detection_errors(found: RawSides, wanted: RawSides) -> Tensor:
    """Divergence of classes and sides of boxes per object that is believed to be there, (B,)."""
    logits, theirs = found.classes.float(), wanted.classes.float()
    there = theirs.sigmoid()
    belief = there.amax(dim=2)  # (B, N)
    mass = belief.sum(dim=1).clamp_min(_SMALLEST_MASS)
    bce = functional.binary_cross_entropy_with_logits
    excess = bce(logits, there, reduction='none') - bce(theirs, there, reduction='none')
    sides = _divergence(found.sides, wanted.sides, 3).sum(dim=2)
    return (excess.sum(dim=(1, 2)) + (sides * belief).sum(dim=1)) / mass


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared error of each of B feature maps, relative to the variance of the whole batch."""
    wanted = wanted.float()
    return (found.float() - wanted).square().mean(dim=(1, 2, 3)) / wanted.var()


def _divergence(found: Tensor, wanted: Tensor, dim: int) -> Tensor:
    """Kullback and Leibler's, of distributions given by logits along a dimension."""
    ours, theirs = found.float().log_softmax(dim=dim), wanted.float().log_softmax(dim=dim)
    return functional.kl_div(ours, theirs, reduction='none', log_target=True).sum(dim=dim)


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
