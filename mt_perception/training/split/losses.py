# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Losses of a split: distillation of features and outputs, and losses on dense labels."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.bottleneck import Bottleneck, Compressed
from mt_perception.network.multitask import Multitask
from mt_perception.network.picodet import PicoDet, RawSides
from mt_perception.network.remote import Remote
from mt_perception.network.trunk import Features
from mt_perception.training.cpu_bfloat16 import prepare_for_bfloat16
from mt_perception.training.data.batches import Batch, SampleSet, batches
from mt_perception.training.data.samples import count_pixels
from mt_perception.training.distributed import Process
from mt_perception.training.losses.depth import gradient_loss, metric_loss
from mt_perception.training.losses.segmentation import (
    class_weights,
    dice_loss,
    read_soft_labels,
    segmentation_loss,
)
from mt_perception.training.split.split_recipe import ErrorWeights, Stage
from mt_perception.types import UNLABELLED

_SMALLEST_MASS = 1.0
_DICE = 0.4
_DEPTH = 3.0
_DEPTH_GRADIENT = 0.5
_DEPTH_DISTILLED = 1.0
# From this share of labelled pixels on, class weights and Dice apply to an image.
_COMPLETE = 0.6


class TeacherPrediction(NamedTuple):
    """Weighted features and raw outputs of a teacher for a batch of images."""

    features: tuple[tuple[float, Tensor], ...]
    outputs: tuple[Tensor, ...]


class FrozenTeacher(Protocol):
    """A frozen network that reads images (B, 3, H, W) float BGR, 0 to 255."""

    def predict(self, image: Tensor) -> TeacherPrediction:
        """Compute features and outputs."""

    def output_errors(self, found: TeacherPrediction, wanted: TeacherPrediction) -> Tensor:
        """Return the error of the outputs of each image, (B,)."""


class NetworkTeacher(nn.Module):
    """The robot's own network: backbone, pyramid, and outputs of the dense heads."""

    def __init__(self, network: Multitask, weights: ErrorWeights) -> None:
        super().__init__()
        self.network = network
        self.weights = weights

    def predict(self, image: Tensor) -> TeacherPrediction:
        """Compute features and outputs."""
        backbone = self.network.trunk.backbone(image)
        pyramid = self.network.trunk.pyramid(*backbone)
        dense = self.network.heads(pyramid, ('segmentation', 'depth'))
        assert dense.segmentation is not None
        assert dense.depth is not None
        features = [*zip(self.weights.backbone, backbone, strict=True)]
        # The finest level of the pyramid is the backbone's own.
        features += [(self.weights.pyramid, level) for level in pyramid[1:]]
        return TeacherPrediction(tuple(features), (dense.segmentation, dense.depth))

    def output_errors(self, found: TeacherPrediction, wanted: TeacherPrediction) -> Tensor:
        """Return KL divergence of the classes plus twice the mean error of log depth, (B,)."""
        segmentation = _divergence(found.outputs[0], wanted.outputs[0], 1).mean(dim=(1, 2))
        depth = (found.outputs[1].float() - wanted.outputs[1].float()).abs().mean(dim=(1, 2))
        return segmentation + 2 * depth


class DetectorTeacher(nn.Module):
    """A second detector: backbone, pyramid, and raw detections."""

    def __init__(self, detector: PicoDet, weights: ErrorWeights) -> None:
        super().__init__()
        self.detector = detector
        self.weights = weights

    def predict(self, image: Tensor) -> TeacherPrediction:
        """Compute features and outputs."""
        backbone = self.detector.backbone(image)
        pyramid = self.detector.neck(*backbone[1:])
        features = tuple((self.weights.detector, level) for level in (*backbone, *pyramid))
        return TeacherPrediction(features, tuple(self.detector.head(*pyramid)))

    def output_errors(self, found: TeacherPrediction, wanted: TeacherPrediction) -> Tensor:
        """Return `detection_errors`, (B,)."""
        return detection_errors(RawSides(*found.outputs), RawSides(*wanted.outputs))


def feature_distillation(
    teacher: FrozenTeacher,
    bottleneck: Bottleneck,
    image: Tensor,
    rate: Tensor,
    weights: ErrorWeights,
) -> tuple[Tensor, Compressed]:
    """Compare a teacher's prediction on the decoded image with that on the original.

    Args:
        teacher: the frozen network.
        bottleneck: compresses and decodes the image.
        image: (B, 3, H, W) float BGR, 0 to 255.
        rate: (B,) int64, compression rate of each image.
        weights: weights of the kinds of errors.

    Returns:
        Errors (B,), and the bottleneck's result.
    """
    with torch.no_grad():
        wanted = teacher.predict(image)
    compressed = bottleneck(image, rate)
    found = teacher.predict(compressed.image)
    error = weights.pixels * relative_error(compressed.image, image)
    for (weight, ours), (_, theirs) in zip(found.features, wanted.features, strict=True):
        error = error + weight * relative_error(ours, theirs)
    return error + weights.answers * teacher.output_errors(found, wanted), compressed


def detection_errors(found: RawSides, wanted: RawSides) -> Tensor:
    """Return KL divergence of classes and box sides per object that the teacher detects, (B,)."""
    logits, theirs = found.classes.float(), wanted.classes.float()
    probability = theirs.sigmoid()
    objectness = probability.amax(dim=2)  # (B, N)
    mass = objectness.sum(dim=1).clamp_min(_SMALLEST_MASS)
    bce = functional.binary_cross_entropy_with_logits
    excess = bce(logits, probability, reduction='none') - bce(
        theirs, probability, reduction='none'
    )
    sides = _divergence(found.sides, wanted.sides, 3).sum(dim=2)
    return (excess.sum(dim=(1, 2)) + (sides * objectness).sum(dim=1)) / mass


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the squared error of each feature map over the variance of the batch, (B,)."""
    wanted = wanted.float()
    return (found.float() - wanted).square().mean(dim=(1, 2, 3)) / wanted.var()


def _divergence(found: Tensor, wanted: Tensor, dim: int) -> Tensor:
    """Return the KL divergence of distributions that are logits along a dimension."""
    ours, theirs = found.float().log_softmax(dim=dim), wanted.float().log_softmax(dim=dim)
    return functional.kl_div(ours, theirs, reduction='none', log_target=True).sum(dim=dim)


class DenseLosses:
    """Losses of segmentation and depth where labels, soft labels and a teacher are mixed.

    Args:
        network: the robot's network, for its number of classes.
        sets: labelled images; the first set has a label on every pixel.
    """

    def __init__(self, network: Multitask | Remote, sets: Sequence[SampleSet]) -> None:
        classes = network.segmentation.predict.out_channels
        pixels = count_pixels(sets[0].samples, classes)
        self.class_weights = class_weights(torch.from_numpy(pixels))

    def segmentation(self, found: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return KL divergence from the targets, plus class-weighted terms, ().

        The target of a pixel is its label; else its soft label; else the teacher's prediction.
        A loss over labelled pixels alone would teach the class frequencies of partial labels.

        Args:
            found: logits (B, C, h, w).
            teacher: logits of the robot's network, (B, C, h, w).
            batch: labels and soft labels.
        """
        logits, labels = found.float(), batch.semantic
        known = labels < logits.shape[1]
        one_hot = functional.one_hot(torch.where(known, labels, 0), logits.shape[1])
        predicted = teacher.float().softmax(dim=1)
        if batch.soft_labels is not None:
            labelled, soft = read_soft_labels(batch.soft_labels)
            predicted = torch.where(labelled[:, None], soft, predicted)
        target = torch.where(known[:, None], one_hot.permute(0, 3, 1, 2).float(), predicted)
        each = functional.kl_div(logits.log_softmax(dim=1), target, reduction='none').sum(dim=1)
        inside = batch.inside
        loss = (each * inside).sum() / inside.sum().clamp_min(1)
        shares = (known & inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp_min(1)
        complete = torch.where((shares >= _COMPLETE)[:, None, None], labels, UNLABELLED)
        loss = loss + segmentation_loss(logits, complete, self.class_weights)
        return loss + _DICE * dice_loss(logits, complete)

    def depth(self, found: Tensor, teacher: Tensor, batch: Batch) -> Tensor:
        """Return the error to measured depth, and to the teacher where none was measured, ().

        Args:
            found: log of (metres / focal length in pixels), (B, h, w).
            teacher: the same by the robot's network on the original image.
            batch: measured depth.
        """
        log_depth, measured = found.float(), batch.depth_per_focal
        distilled = (measured <= 0) & batch.inside
        error = (log_depth - teacher.float()).abs() * distilled
        loss = metric_loss(log_depth, measured)
        loss = loss + _DEPTH_DISTILLED * error.sum() / distilled.sum().clamp_min(1)
        return _DEPTH * (loss + _DEPTH_GRADIENT * gradient_loss(log_depth, measured))


class DistillationTargets(NamedTuple):
    """Predictions of the robot's network for the original images."""

    features: Features
    segmentation: Tensor  # (B, C, H/4, W/4) logits
    depth: Tensor  # (B, H/4, W/4) log of (metres / focal length in pixels)


class DenseTeacher:
    """Labelled images, and the robot's network as a teacher for unlabelled pixels.

    Args:
        network: the robot's network, trained.
        sets: labelled images; the first set has a label on every pixel.
        seed: seed of the order of images.
        process: this process.
    """

    def __init__(
        self, network: Multitask, sets: Sequence[SampleSet], seed: int, process: Process
    ) -> None:
        self.losses = DenseLosses(network, sets)
        self._network = copy.deepcopy(network).requires_grad_(False).eval()
        prepare_for_bfloat16(self._network)
        self._sets = sets
        self._seed = seed
        self._process = process

    def batches(self, spec: Stage, steps: range) -> Iterator[Batch]:
        """Return the labelled images of some steps."""
        share = self._process.share
        return batches(self._sets, spec.canvases, spec.batch_size, self._seed, steps, share)

    def targets(self, image: Tensor) -> DistillationTargets:
        """Predict for original images, (B, 3, H, W) float BGR, 0 to 255."""
        features: Features = self._network.trunk(image)
        dense = self._network.heads(features, ('segmentation', 'depth'))
        assert dense.segmentation is not None
        assert dense.depth is not None
        return DistillationTargets(features, dense.segmentation, dense.depth)
