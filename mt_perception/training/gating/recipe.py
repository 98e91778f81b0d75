# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a recipe says of gates and paths."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from mt_perception.errors import ModelError
from mt_perception.training.recipe_fields import build, list_of, mapping, number

LIGHT = ('segmentation', 'depth')
"""The tasks that have a light head beside their own (`network.gated`)."""


@dataclass(frozen=True)
class PathSpec:
    """A path that the masks are gathered into.

    Args:
        name: for the manifest.
        scale: of the long side of the network's input, as a share of the full one.
        compute: share of the multiply-accumulates that its mask leaves, at that size. Paths of
            equal compute share their files; 1 is the full network itself.
        light: tasks that have their light head instead, whatever the mask says of the other.
    """

    name: str
    scale: float
    compute: float
    light: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gating:
    """How gates are trained and gathered.

    Args:
        paths: most expensive first, each mask within the one before.
        least_budget: budgets are drawn from here to 1.
        budget: weight of the hinge on the budget.
        imitation: weight of the distance to the full network's segmentation and depth, on every
            picture.
        temperatures: of the Gumbel-sigmoid, at the first and the last step with noise.
        judge: detector (ONNX, inside the data folder) that says which objects are in pictures
            where nobody labelled them all, for the policy.
    """

    paths: tuple[PathSpec, ...]
    least_budget: float = 0.72
    budget: float = 4.0
    imitation: float = 1.0
    temperatures: tuple[float, float] = (5.0, 0.5)
    judge: str = ''


def read_gating(data: Any) -> Gating:
    """Read the section of a recipe.

    Raises:
        ModelError: a field is missing, unknown or out of range.
    """
    values = mapping(data, 'gating')
    paths = tuple(_read_path(row) for row in list_of(values, 'paths'))
    values['paths'] = paths
    if 'temperatures' in values:
        first, last = (number(v, 'gating.temperatures', 1e-3) for v in values['temperatures'])
        values['temperatures'] = (first, last)
    gating = build(Gating, values, 'gating')
    for path in paths:
        if not (0 < path.scale <= 1 and 0 < path.compute <= 1):
            raise ModelError(f'gating.paths.{path.name}: scale and compute are in (0, 1]')
        if not set(path.light) <= set(LIGHT):
            raise ModelError(f'gating.paths.{path.name}.light: only {", ".join(LIGHT)} have one')
    if not paths or any(a.compute < b.compute for a, b in pairwise(paths)):
        raise ModelError('gating.paths: at least one, and compute does not rise')
    return gating


def _read_path(data: Any) -> PathSpec:
    values = mapping(data, 'gating.paths')
    values['light'] = tuple(list_of(values, 'light')) if 'light' in values else ()
    return build(PathSpec, values, 'gating.paths')
