# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The perception nodes of one process: one, or one for each camera.

Each camera has a node in its own namespace, with its own topics, parameters, diagnostics and
lifecycle. The nodes share the weights of the model and one compute budget.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

from mt_perception.nodes.frame_executor import FrameExecutor
from mt_perception.nodes.model_pool import ModelPool
from mt_perception.nodes.node_parameters import ParameterNode
from mt_perception.nodes.parameters import PerceptionSettings
from mt_perception.nodes.perception import NAME, PerceptionNode
from mt_perception.nodes.run_node import run_nodes

_RENAMES = re.compile(r'(.*:)?__(ns|node|name):=')


def perception_nodes(args: Sequence[str] | None = None) -> list[PerceptionNode]:
    """Create the nodes that the parameter ``cameras`` names.

    Args:
        args: Command line with ``--ros-args``; None uses that of the process.

    Raises:
        OptionError: A parameter given at start is refused.
    """
    probe = ParameterNode(NAME, start_parameter_services=False, enable_rosout=False)
    settings = PerceptionSettings()
    if probe.has_parameter('cameras'):
        settings = settings.changed({'cameras': probe.get_parameter('cameras').value})
    name, namespace = probe.get_name(), probe.get_namespace().rstrip('/')
    probe.destroy_node()
    cameras = settings.camera_names()
    if not cameras:
        return [PerceptionNode()]
    pool = ModelPool(len(cameras))
    arguments = without_renames(sys.argv if args is None else args)
    full_names = tuple(f'{namespace}/{camera}/{name}' for camera in cameras)
    return [
        PerceptionNode(
            pool,
            camera,
            name=name,
            namespace=full_name.rpartition('/')[0],
            cli_args=arguments,
            # A remapped namespace would apply to every node of the process.
            use_global_arguments=False,
            siblings=full_names,
        )
        for camera, full_name in zip(cameras, full_names, strict=True)
    ]


def without_renames(arguments: Sequence[str]) -> list[str]:
    """Return a command line without the rules that remap node names and namespaces."""
    kept: list[str] = []
    for argument in arguments:
        if _RENAMES.match(argument) and kept and kept[-1] in ('-r', '--remap'):
            kept.pop()
        else:
            kept.append(argument)
    return kept


def main(args: Sequence[str] | None = None) -> int:
    """Run the perception nodes until a signal arrives.

    Returns:
        The exit status of the process.
    """
    return run_nodes(lambda: perception_nodes(args), args, make_executor=FrameExecutor)
