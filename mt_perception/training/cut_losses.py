# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a bottleneck is trained for: that networks see in its image what they see in the real one.

Two trained networks look, in turn: the robot's own, and the detector that the remote half has
besides. What is compared are their features, as in Ladon, and their answers, which say what of
the features the tasks need.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.bottleneck import Bottleneck, Compressed
from mt_perception.network.multitask import Multitask
from mt_perception.network.picodet import PicoDet, RawSides
from mt_perception.training.cut_recipe import ErrorWeights

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
