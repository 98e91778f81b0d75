# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The parameters of all nodes; the parameter file and the tables in the docs are generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import cast

from mt_perception.execution.options import Options
from mt_perception.nodes.cloud_parameters import CloudParameters
from mt_perception.nodes.depth_parameters import DepthParameters
from mt_perception.nodes.host_parameters import RemoteHostSettings
from mt_perception.nodes.parameter_schema import (
    Settings,
    loadable_yaml_text,
    start_parameter,
    yaml_text,
)
from mt_perception.nodes.perception_parameters import (
    BudgetParameters,
    OffloadParameters,
    PipelineParameters,
)
from mt_perception.planning.budget import Budget
from mt_perception.types import DEPTH, DETECTION, SEGMENTATION

_TASKS = (DETECTION, DEPTH, SEGMENTATION)


@dataclass(frozen=True)
class PerceptionSettings(
    OffloadParameters, BudgetParameters, CloudParameters, DepthParameters, PipelineParameters
):
    """All parameters of the perception node; those of the last base class come first."""

    def options(self) -> Options:
        """The options of the pipeline."""
        return replace(super().options(), **self.depth_options())

    def budget(self) -> Budget:
        """The budget of the pipeline."""
        values = {p.name: self.value(p.name) for p in self.parameters()}

        def of_tasks(pattern: str) -> dict[str, float]:
            return {task: cast(float, values[pattern.format(task)]) for task in _TASKS}

        return Budget(
            compute=self.budget_compute,
            latency_ms=self.budget_latency_ms,
            path=self.budget_path,
            max_stale_ms=self.budget_max_stale_ms,
            max_change=self.budget_max_change,
            weights=of_tasks('budget.tasks.{}.weight'),
            max_rate_hz=of_tasks('tasks.{}.max_rate_hz'),
        )


@dataclass(frozen=True)
class SourceSettings(Settings):
    """The parameters of the source node."""

    source: str = start_parameter(
        'source', '', 'A folder of images, a video, a bag, or a camera such as `/dev/video0`.'
    )
    topic: str = start_parameter('topic', '', 'Image topic of a bag that has several.')
    rate_hz: float = start_parameter(
        'rate_hz',
        0.0,
        'Images per second; 0 uses the rate of the recording.',
        limits=(0.0, 1000.0),
    )
    loop: bool = start_parameter('loop', False, 'Start again at the end.')
    restamp: bool = start_parameter(
        'restamp', True, 'Stamp images with the current time instead of the time of the recording.'
    )
    frame_id: str = start_parameter(
        'frame_id', '', 'frame_id of the images; empty uses that of the recording.'
    )
    wait_for_subscribers: bool = start_parameter(
        'wait_for_subscribers', True, 'Start when the image topic has its subscribers.'
    )
    min_subscribers: int = start_parameter(
        'min_subscribers', 1, 'Number of subscribers to wait for.', limits=(1, 100)
    )


NODES: Mapping[str, type[Settings]] = MappingProxyType(
    {
        'perception': PerceptionSettings,
        'source': SourceSettings,
        'remote_host': RemoteHostSettings,
    }
)
"""Node name → its settings class."""

_HEAD = """\
# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
# Every parameter with its default, generated from mt_perception/nodes/parameters.py.
"""
_JOINT_HEAD = (
    _HEAD
    + """\
# Copy it, keep the lines that you change, and start with params_file:=yours.yaml. It applies in
# every namespace. QoS can be overridden too, for example
#   qos_overrides./image.subscription.reliability: reliable
"""
)


def parameter_files() -> dict[str, str]:
    """File name → text of the parameter files in ``config/``: a joint one, and one per node."""
    files = {'mt_perception.params.yaml': _JOINT_HEAD + yaml_text(NODES)}
    for node, settings in NODES.items():
        head = f'{_HEAD}# For ros2 param load /{node} FILE.\n'
        files[f'{node}.params.yaml'] = head + loadable_yaml_text(node, settings)
    return files
