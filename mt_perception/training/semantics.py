# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The segmentation classes and the data sets' own names that each of them gathers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from mt_perception.errors import ModelError

IGNORED = 255


@dataclass(frozen=True)
class Semantics:
    """The classes in index order.

    Args:
        labels: class names.
        members: index of the class for every data set name that is listed.
        rest: index of the class for names that are not listed.
    """

    labels: tuple[str, ...]
    members: Mapping[str, int]
    rest: int

    def index(self, name: str) -> int:
        """Give the class index for a data set's class name."""
        return self.members.get(name, self.rest)

    def table(self, names: Mapping[int, str], unlabelled: int = 0) -> NDArray[np.uint8]:
        """Give a lookup table, (256,) uint8, from a data set's ids to class indices.

        Args:
            names: the data set's ids with their names.
            unlabelled: the id that means "no label"; it and ids without a name map to 255.
        """
        table = np.full(256, IGNORED, np.uint8)
        for number, name in names.items():
            if number != unlabelled:
                table[number] = self.index(name)
        return table


def read_semantics(path: Path) -> Semantics:
    """Read the classes from their YAML file.

    Raises:
        ModelError: the file lacks classes, or names one twice.
    """
    data = yaml.safe_load(path.read_text(encoding='utf-8'))
    classes = data.get('classes') if isinstance(data, dict) else None
    if not isinstance(classes, dict) or data.get('rest') not in classes:
        raise ModelError(f'{path}: expected a map "classes" and "rest", the name of one of them')
    members: dict[str, int] = {}
    for index, (label, names) in enumerate(classes.items()):
        for name in names:
            if name in members:
                raise ModelError(f'{path}: {name!r} belongs to two classes, {label!r} is one')
            members[name] = index
    labels = tuple(classes)
    return Semantics(labels, members, labels.index(data['rest']))
