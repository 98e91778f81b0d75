# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Sharing trees (Antler): enumeration, variety score, cost and selection.

A network of D segments has a branch point after each segment. A sharing tree defines, for every
segment, which tasks share it; after a branch, tasks never share again. The heads after the last
branch point belong to one task each and are not part of the tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import OptionError

Partition = tuple[tuple[int, ...], ...]
"""Groups of tasks: tasks ascend within a group, groups are sorted by their first task."""

MAX_TASKS = 6
MAX_DEPTH = 6
"""Six of each give 274 778 trees, listed in seconds; more do not fit into memory."""


@dataclass(frozen=True)
class SharingTree:
    """The groups of tasks that share each segment; every partition refines the one before it.

    Attributes:
        partitions: One partition for each segment, from the image to the heads.
    """

    partitions: tuple[Partition, ...]

    def __str__(self) -> str:
        """Groups by segment, such as ``012 | 01 2 | 0 1 2``."""
        return ' | '.join(
            ' '.join(''.join(map(str, group)) for group in partition)
            for partition in self.partitions
        )


@dataclass(frozen=True)
class ScoredTree:
    """A tree with its variety and cost.

    Attributes:
        tree: The tree.
        variety: Sum of 1 - S over segments and over pairs of tasks that share them.
        cost: Cost of all segments in the unit of the input; shared segments count once.
    """

    tree: SharingTree
    variety: float
    cost: float


def sharing_trees(tasks: int, depth: int) -> Iterator[SharingTree]:
    """Yield every tree of 1 to 6 tasks over 1 to 6 segments once.

    Raises:
        OptionError: There are more tasks or segments.
    """
    if not 1 <= tasks <= MAX_TASKS or not 1 <= depth <= MAX_DEPTH:
        raise OptionError(
            f'trees are listed for 1 to {MAX_TASKS} tasks and 1 to {MAX_DEPTH} segments, '
            f'found {tasks} tasks and {depth} segments; use fewer branch points'
        )
    whole: Partition = (tuple(range(tasks)),)
    for partitions in _chains(whole, depth):
        yield SharingTree(partitions)


def _chains(coarsest: Partition, depth: int) -> Iterator[tuple[Partition, ...]]:
    """Yield every sequence of partitions that refine each other."""
    if depth == 0:
        yield ()
        return
    for partition in _refinements(coarsest):
        for rest in _chains(partition, depth - 1):
            yield (partition, *rest)


def _refinements(partition: Partition) -> Iterator[Partition]:
    """Yield every refinement of a partition, the partition itself first."""
    found: list[Partition] = [()]
    for group in partition:
        found = [(*groups, *parts) for groups in found for parts in _partitions(group)]
    for groups in found:
        yield tuple(sorted(groups))


def _partitions(group: tuple[int, ...]) -> Iterator[Partition]:
    """Yield every partition of a group, the whole group first."""
    if not group:
        yield ()
        return
    first, rest = group[0], group[1:]
    for size in range(len(rest), -1, -1):
        for company in combinations(rest, size):
            left = tuple(task for task in rest if task not in company)
            for parts in _partitions(left):
                yield ((first, *company), *parts)


def score_trees(
    affinity: NDArray[np.floating], segment_costs: Sequence[float]
) -> list[ScoredTree]:
    """Score every tree of a network.

    Args:
        affinity: S, (D, n, n): similarity of tasks i and j at branch point d, after segment d;
            1 means equal representations. Only the part above the diagonal is read.
        segment_costs: (D,) cost of each segment: MACs, milliseconds or bytes.

    Returns:
        All trees; the first one shares all segments.

    Raises:
        OptionError: The shapes do not match, or a value is not finite.
    """
    shape = affinity.shape
    if affinity.ndim != 3 or shape[1] != shape[2] or shape[0] != len(segment_costs):
        raise OptionError(
            'affinity must be (segments, tasks, tasks) with one cost for each segment, found '
            f'{shape} and {len(segment_costs)} costs'
        )
    if not (np.isfinite(affinity).all() and np.isfinite(segment_costs).all()):
        raise OptionError('affinity and segment costs must be finite; found NaN or infinity')
    return [_scored(tree, affinity, segment_costs) for tree in sharing_trees(shape[1], shape[0])]


def _scored(
    tree: SharingTree, affinity: NDArray[np.floating], segment_costs: Sequence[float]
) -> ScoredTree:
    variety = sum(
        1.0 - float(affinity[depth, i, j])
        for depth, partition in enumerate(tree.partitions)
        for group in partition
        for i, j in combinations(group, 2)
    )
    cost = sum(
        float(price) * len(partition)
        for price, partition in zip(segment_costs, tree.partitions, strict=True)
    )
    return ScoredTree(tree, variety, cost)


def pareto_front(scored: Iterable[ScoredTree]) -> list[ScoredTree]:
    """The trees that no other tree dominates in variety and cost, the cheapest first.

    Of trees with equal variety and cost the first one is kept.
    """
    front: list[ScoredTree] = []
    for tree in sorted(scored, key=lambda s: (s.cost, s.variety)):
        if not front or tree.variety < front[-1].variety:
            front.append(tree)
    return front


def choose_tree(scored: Sequence[ScoredTree], weight: float) -> ScoredTree:
    """The tree with the lowest ``weight · variety + (1 - weight) · cost``.

    Variety and cost are scaled to [0, 1] over all trees, so that the weight has no unit. The
    result is on the Pareto front.

    Args:
        scored: The trees, at least one.
        weight: 0 selects the cheapest tree, 1 the tree with the lowest variety.

    Raises:
        OptionError: The weight is outside [0, 1], or there is no tree.
    """
    if not 0 <= weight <= 1 or not scored:
        raise OptionError(f'weight must be from 0 to 1, found {weight}, with {len(scored)} trees')
    varieties = [s.variety for s in scored]
    costs = [s.cost for s in scored]

    def loss(tree: ScoredTree) -> float:
        return weight * _scaled(tree.variety, varieties) + (1 - weight) * _scaled(tree.cost, costs)

    return min(pareto_front(scored), key=loss)


def _scaled(value: float, values: Sequence[float]) -> float:
    least, most = min(values), max(values)
    return (value - least) / (most - least) if most > least else 0.0
