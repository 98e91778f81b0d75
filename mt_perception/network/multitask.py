# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The multitask networks by name: a shared trunk with three heads."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from mt_perception.errors import ModelError
from mt_perception.network.dense import DenseHead, LightHead
from mt_perception.network.detection import DetectionHead, RawDetections
from mt_perception.network.trunk import Features, Trunk

TASKS = ('detection', 'segmentation', 'depth')

# Log of depth over focal length for 2 m and 300 network pixels.
_TYPICAL_LOG_DEPTH = -5.0


class Outputs(NamedTuple):
    """Raw outputs of the heads; None for heads that did not run."""

    detection: RawDetections | None
    segmentation: Tensor | None  # (B, C, H/4, W/4) logits
    depth: Tensor | None  # (B, H/4, W/4) log of (metres / focal length in pixels)


class Multitask(nn.Module):
    """A shared trunk with a detection, a segmentation and a depth head."""

    def __init__(self, detection_classes: int, segmentation_classes: int) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.detection = DetectionHead(detection_classes)
        self.segmentation: DenseHead | LightHead = DenseHead(segmentation_classes)
        self.depth: DenseHead | LightHead = DenseHead(1)
        bias = self.depth.predict.bias
        if bias is not None:
            nn.init.constant_(bias, _TYPICAL_LOG_DEPTH)

    def forward(self, image: Tensor, tasks: tuple[str, ...] = TASKS) -> Outputs:
        """Run the trunk and the heads of some tasks.

        Args:
            image: (B, 3, H, W) float BGR, 0 to 255, H and W multiples of 32.
            tasks: the heads to run.
        """
        return self.heads(self.trunk(image), tasks)

    def heads(self, features: Features, tasks: tuple[str, ...] = TASKS) -> Outputs:
        """Run the heads of some tasks on features."""
        return Outputs(
            self.detection(*features[1:]) if 'detection' in tasks else None,
            self.segmentation(features) if 'segmentation' in tasks else None,
            self.depth(features)[:, 0] if 'depth' in tasks else None,
        )


NETWORKS = {'cspnano': Multitask}


def build(name: str, detection_classes: int = 80, segmentation_classes: int = 15) -> Multitask:
    """Build a network by its name; a head without classes has one output, which is not exported.

    Raises:
        ModelError: there is no network of that name.
    """
    if name not in NETWORKS:
        raise ModelError(f'there is no network {name!r}; known networks: {sorted(NETWORKS)}')
    return NETWORKS[name](max(detection_classes, 1), max(segmentation_classes, 1))
