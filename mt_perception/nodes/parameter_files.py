# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Finds parameter files on the command line whose keys name the node in another namespace.

ROS ignores such a file without a message: a file with the key ``perception`` applies to
``/perception`` only, and not to ``/robot1/perception``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from mt_perception.data_files import read_yaml
from mt_perception.errors import PerceptionError

_PARAMETERS = 'ros__parameters'


def unmatched_files(arguments: Sequence[str], nodes: Sequence[str]) -> list[str]:
    """One sentence for each parameter file that was meant for a node and applies to none.

    Args:
        arguments: A command line.
        nodes: Full names of the node and of those that share its files.
    """
    found = []
    node = nodes[0]
    files = dict.fromkeys(b for a, b in pairwise(arguments) if a == '--params-file')
    for file in files:
        try:
            content = read_yaml(Path(file))
        except (PerceptionError, OSError):
            # ROS reports what it cannot read.
            continue
        keys = list(_node_keys(content)) if isinstance(content, Mapping) else []
        own_name = node.rpartition('/')[2]
        meant = [key for key in keys if key.rpartition('/')[2] == own_name]
        if meant and not any(matches(key, name) for key in keys for name in nodes):
            found.append(
                f'{file} has parameters for {meant[0]}, which do not apply to {node}; replace the '
                f'key with /**/{own_name}'
            )
    return found


def matches(key: str, node: str) -> bool:
    """Whether a key of a parameter file applies to a node.

    Args:
        key: A name with the wildcards ``*`` (one part) and ``**`` (any number of parts).
        node: Full name of the node.
    """
    pattern = re.escape('/' + key.strip('/'))
    pattern = pattern.replace(r'/\*\*', '(/[^/]+)*').replace(r'/\*', '/[^/]+')
    return re.fullmatch(pattern, node) is not None


def _node_keys(content: Mapping[Any, Any], prefix: str = '') -> Iterator[str]:
    """The names of all nodes in a parameter file; namespaces may be nested."""
    for key, value in content.items():
        if key == _PARAMETERS:
            yield prefix
        elif isinstance(value, Mapping):
            yield from _node_keys(value, f'{prefix}/{str(key).strip("/")}')
