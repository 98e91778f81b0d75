# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The remote network: trunk and heads of the robot's network, a second detector, a wide head.

The remote host has more compute than the robot, so its results are more accurate.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mt_perception.network.dense import DenseHead, LightHead
from mt_perception.network.multitask import Multitask
from mt_perception.network.picodet import CHANNELS, Levels, PicoDet, Pyramid, RawSides
from mt_perception.network.trunk import FEATURE_CHANNELS, Features

# Scales the initial weights of input projections: large activations destabilise a new head.
_DAMPED = 0.5


class RemoteFeatures(NamedTuple):
    """Features of an image that the remote heads read."""

    features: Features  # the trunk's
    backbone: Levels  # the detector's
    pyramid: Pyramid  # the detector's, made of its backbone's


class RemoteOutputs(NamedTuple):
    """Raw outputs of the remote network."""

    detection: RawSides  # the second detector's
    segmentation: Tensor  # (B, C, H/4, W/4) logits
    depth: Tensor  # (B, H/4, W/4) log of (metres / focal length in pixels)


class WideHead(nn.Module):
    """A dense head on the features of trunk and detector, added to the base dense heads.

    The detector was trained on 1000 times as many images as there are with labelled pixels. For
    segmentation the sum is an ensemble of logits, for depth a correction in log space. The head
    ends at stride 8. Its last layer is initialised to zero, so that sums equal the base heads.

    Args:
        outputs: channels of the map: segmentation classes, and one for depth.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        inputs = {
            level: channels + CHANNELS[level] for level, channels in FEATURE_CHANNELS.items()
        }
        head = DenseHead(outputs, deep=160, middle=96, inputs=inputs)
        with torch.no_grad():
            for conv in (head.project8, head.project16, head.project32, head.scene):
                conv.weight.mul_(_DAMPED)
        nn.init.zeros_(head.predict.weight)
        assert head.predict.bias is not None
        nn.init.zeros_(head.predict.bias)
        self.head = LightHead(head, refined=True)

    def forward(self, features: Sequence[Tensor], backbone: Sequence[Tensor]) -> Tensor:
        """Return the map (B, outputs, H/4, W/4).

        Args:
            features: features of the trunk; the last three are s8, s16 and s32.
            backbone: features of the detector's backbone, likewise.
        """
        pairs = zip(features[-3:], backbone[-3:], strict=True)
        joined = tuple(torch.cat(pair, dim=1) for pair in pairs)
        found: Tensor = self.head(joined)
        return found


class Remote(nn.Module):
    """Trunk and heads of the robot's network, a second detector, and a wide dense head.

    Args:
        network: the robot's network, whose trunk and heads are copied.
    """

    calibration: Tensor

    def __init__(self, network: Multitask) -> None:
        super().__init__()
        classes = network.detection.levels[0].classes
        assert isinstance(classes, nn.Conv2d)
        self.trunk = copy.deepcopy(network.trunk)
        self.detector = PicoDet(classes.out_channels)
        self.detection = copy.deepcopy(network.detection)
        self.segmentation = copy.deepcopy(network.segmentation)
        self.depth = copy.deepcopy(network.depth)
        self.wide = WideHead(network.segmentation.predict.out_channels + 1)
        # Slope and offset of fused logits, see `training.split.score_calibration`.
        self.register_buffer('calibration', torch.tensor([1.0, 0.0]))

    def extract(self, image: Tensor) -> RemoteFeatures:
        """Compute the features of trunk and detector.

        Args:
            image: the decoded image, (B, 3, H, W) float BGR, 0 to 255.
        """
        backbone: Levels = self.detector.backbone(image)
        return RemoteFeatures(self.trunk(image), backbone, self.detector.neck(*backbone[1:]))

    def base_outputs(self, features: RemoteFeatures) -> RemoteOutputs:
        """Run the second detector's head and the base dense heads, without the wide head."""
        return RemoteOutputs(
            self.detector.head(*features.pyramid),
            self.segmentation(features.features),
            self.depth(features.features)[:, 0],
        )

    def forward(self, image: Tensor) -> RemoteOutputs:
        """Run everything but the robot's own detection head and the box fusion."""
        features = self.extract(image)
        base = self.base_outputs(features)
        wide = self.wide(features.features, features.backbone)
        return RemoteOutputs(
            base.detection, base.segmentation + wide[:, :-1], base.depth + wide[:, -1]
        )
