# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The choices of a user who imports networks; importable without the package ``onnx``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

AUTO = 'auto'
KEEP = 'keep'
Channels = tuple[float, float, float]

DEPTH_OUTPUTS = {
    'metric': 'depth',
    'metric-over-focal': 'depth_per_focal',
    'inverse-relative': 'inverse_depth',
}
"""Kind of depth → output of the model folder (see ``manifest.TASK_OUTPUTS``)."""


@dataclass(frozen=True)
class Choice:
    """A user's settings for one task; None or empty takes the default of the preset.

    Attributes:
        task: ``detection``, ``segmentation`` or ``depth``.
        path: The ONNX file.
        labels: Class names.
        decode: Name of a preset, or ``auto``.
        depth_kind: For depth: a key of `DEPTH_OUTPUTS`.
        mean: Mean of each channel, in units of 0–255.
        std: Standard deviation of each channel, in units of 0–255.
        rgb: Whether the channels are RGB.
        channels_last: Whether the input is (1, H, W, 3).
        fit: ``letterbox``, ``stretch`` or ``keep``.
        size: (H, W) for a network of any size.
        output: Name of the output to use, for maps.
    """

    task: str
    path: Path
    labels: tuple[str, ...] = ()
    decode: str = AUTO
    depth_kind: str = ''
    mean: Channels | None = None
    std: Channels | None = None
    rgb: bool | None = None
    channels_last: bool | None = None
    fit: str = ''
    size: tuple[int, int] | None = None
    output: str = ''


@dataclass(frozen=True)
class Card:
    """Name and origin of a model; see ``Manifest``."""

    name: str
    version: str = '1'
    licence: str = 'LicenseRef-unknown'
    description: str = ''
