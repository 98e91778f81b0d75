# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Which tasks share which segments: every tree, its variety and cost, and the choice (Antler).

A network of D segments has a branch point after each. A sharing tree says for every segment which
tasks have one in common; tasks that part never meet again. What follows the last branch point (the
heads) belongs to one task each and is not part of the choice.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from mt_perception.errors import OptionError

Partition = tuple[tuple[int, ...], ...]
"""Tasks in groups: the tasks of a group rise, the groups are in the order of their first task."""

MAX_TASKS = 6
MAX_DEPTH = 6
"""With six of each there are 274 778 trees, listed in seconds; beyond, they outgrow memory."""


@dataclass(frozen=True)
class SharingTree:
    """Which tasks share each segment; every partition refines the one before it.

    Attributes:
        partitions: For each segment, from the image to the heads, the groups of tasks that share.
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
    """A tree and what it is worth.

    Attributes:
        tree: The tree.
        variety: Sum over segments, and over pairs of tasks that share them, of 1 - S.
        cost: Cost of all segments, shared ones once, in the unit of the costs given.
    """

    tree: SharingTree
    variety: float
    cost: float


def sharing_trees(tasks: int, depth: int) -> Iterator[SharingTree]:
    """Every tree of 1 to 6 tasks over 1 to 6 segments, each once.

    Raises:
        OptionError: More tasks or segments than can be listed.
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
    """Every sequence of partitions, each a refinement of the one before it."""
    if depth == 0:
        yield ()
        return
    for partition in _refinements(coarsest):
        for rest in _chains(partition, depth - 1):
            yield (partition, *rest)


def _refinements(partition: Partition) -> Iterator[Partition]:
    """Every partition whose groups each lie within one group of this one; itself first."""
    found: list[Partition] = [()]
    for group in partition:
        found = [(*groups, *parts) for groups in found for parts in _partitions(group)]
    for groups in found:
        yield tuple(sorted(groups))


def _partitions(group: tuple[int, ...]) -> Iterator[Partition]:
    """Every way to split a group; the whole group first."""
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
            1 is the same representation. Only the part above the diagonal is read.
        segment_costs: (D,) cost of each segment: MACs, milliseconds or bytes.

    Returns:
        The trees; the first one shares everything.

    Raises:
        OptionError: The arrays do not fit each other, or are not finite.
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
    """The trees that no other beats in both variety and cost, the cheapest first.

    Of trees with the same variety and cost the first one stays.
    """
    front: list[ScoredTree] = []
    for tree in sorted(scored, key=lambda s: (s.cost, s.variety)):
        if not front or tree.variety < front[-1].variety:
            front.append(tree)
    return front


def choose_tree(scored: Sequence[ScoredTree], weight: float) -> ScoredTree:
    """The tree with the least ``weight · variety + (1 - weight) · cost``.

    Both are first scaled to [0, 1] over all the trees, so that the weight has no unit. The choice
    is always on the Pareto front.

    Args:
        scored: The trees, at least one.
        weight: 0 asks for the cheapest tree, 1 for tasks that share with their like only.

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
