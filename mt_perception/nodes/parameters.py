# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of our nodes: the one declaration that code, YAML and README agree with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mt_perception.nodes.host_parameters import RemoteHostSettings
from mt_perception.nodes.parameter_schema import Change, Settings, parameter, yaml_text
from mt_perception.nodes.perception_parameters import (
    BudgetParameters,
    OffloadParameters,
    PipelineParameters,
)


@dataclass(frozen=True)
class PerceptionSettings(OffloadParameters, BudgetParameters, PipelineParameters):
    """What the perception node can be told; of its bases the last one's parameters come first."""


@dataclass(frozen=True)
class SourceSettings(Settings):
    """What the source node can be told."""

    source: str = parameter(
        'source',
        '',
        'A folder of images, a video, a bag, or a camera such as `/dev/video0`.',
        change=Change.START,
    )
    topic: str = parameter(
        'topic', '', 'Image topic of a bag that has several; else empty.', change=Change.START
    )
    rate_hz: float = parameter(
        'rate_hz',
        0.0,
        'Images per second; 0 is the rate of the recording.',
        minimum=0.0,
        maximum=1000.0,
        change=Change.START,
    )
    loop: bool = parameter('loop', False, 'Begin again at the end.', change=Change.START)
    restamp: bool = parameter(
        'restamp',
        True,
        'Stamp images with the current time instead of the time of the recording.',
        change=Change.START,
    )
    frame_id: str = parameter(
        'frame_id',
        '',
        'Optical frame of the images; empty keeps that of the recording.',
        change=Change.START,
    )
    wait_for_subscribers: bool = parameter(
        'wait_for_subscribers', True, 'Begin when someone listens.', change=Change.START
    )


NODES: Mapping[str, type[Settings]] = MappingProxyType(
    {
        'perception': PerceptionSettings,
        'source': SourceSettings,
        'remote_host': RemoteHostSettings,
    }
)
"""Run-time name of each node → its parameters."""

_YAML_HEAD = """\
# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
# Every parameter with its default, generated from mt_perception/nodes/parameters.py.
# Copy it, keep what you change, and start with params_file:=yours.yaml. It holds in every
# namespace. QoS can be overridden too, for instance
#   qos_overrides./image.subscription.reliability: reliable
"""


def params_yaml() -> str:
    """The text of ``config/mt_perception.params.yaml``."""
    return _YAML_HEAD + yaml_text(NODES)
