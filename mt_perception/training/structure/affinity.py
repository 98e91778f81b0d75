# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Task affinity of single-task networks, and the sharing tree chosen from it (Antler)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from mt_perception.model.branching import (
    ScoredTree,
    choose_tree,
    pareto_front,
    score_trees,
)
from mt_perception.network.macs import layer_macs
from mt_perception.network.multitask import TASKS
from mt_perception.network.tree import SEGMENTS
from mt_perception.network.trunk import Trunk
from mt_perception.training.data.batches import SampleSet, make_batch

_COUNTED_SIZE = (160, 192)
# Differs from all training seeds, so that the images have augmentations of their own.
_AFFINITY_SEED = 1_000_003


@dataclass(frozen=True)
class TreeChoice:
    """All scored trees and the chosen one.

    Args:
        affinity: S, (D, T, T).
        costs: (D,) multiply-accumulates of the segments.
        trees: all trees.
        chosen: the tree to train.
    """

    affinity: NDArray[np.float64]
    costs: tuple[int, ...]
    trees: tuple[ScoredTree, ...]
    chosen: ScoredTree

    def table(self) -> str:
        """Return affinities and Pareto front as CSV, with the chosen tree marked."""
        rows = ['branch point,' + ','.join(f'{a}~{b}' for a, b in combinations(TASKS, 2))]
        for names, alike in zip(SEGMENTS, self.affinity, strict=True):
            values = (f'{alike[i, j]:.3f}' for i, j in combinations(range(len(TASKS)), 2))
            rows.append(f'{names[-1]},' + ','.join(values))
        rows += ['', 'tree,variety,mmacs,taken']
        rows += [
            f'{s.tree},{s.variety:.3f},{s.cost / 1e6:.1f},{"yes" if s == self.chosen else ""}'
            for s in pareto_front(self.trees)
        ]
        return '\n'.join(rows) + '\n'


def choose_structure(
    trunks: Mapping[str, Trunk],
    sets: Sequence[SampleSet],
    canvas: tuple[int, int],
    images: int,
    variety: float,
) -> TreeChoice:
    """Measure the affinity of single-task networks and choose a tree (Antler, section 4).

    Args:
        trunks: task → trunk of its single-task network.
        sets: data sets to draw images from.
        canvas: (height, width) of the images.
        images: number of images, at least 3.
        variety: weight of variety against cost.
    """
    batch = make_batch(sets, [canvas], images, seed=_AFFINITY_SEED, step=0)
    affinity = measure_affinity([trunks[task] for task in TASKS], batch.clean)
    macs = layer_macs(trunks[TASKS[0]], _COUNTED_SIZE)
    costs = tuple(
        sum(count for path, count in macs.items() if path.split('.')[0] in names)
        for names in SEGMENTS
    )
    trees = tuple(score_trees(affinity, costs))
    return TreeChoice(affinity, costs, trees, choose_tree(trees, variety))


def measure_affinity(trunks: Sequence[Trunk], images: Tensor) -> NDArray[np.float64]:
    """Measure the similarity of the trunks' representations at every branch point.

    Antler (arXiv 2302.13155), section 4: at each branch point the K x K matrix of the Pearson
    correlations between the images' features is a network's profile; Spearman's correlation of two
    profiles, above the diagonal, is their affinity.

    Args:
        trunks: T trunks of one architecture.
        images: (K, 3, H, W), BGR, 0 to 255; K at least 3.

    Returns:
        S, (D, T, T) float64: symmetric, 1 on the diagonal.
    """
    profiles = [similarity_profiles(trunk, images) for trunk in trunks]
    affinity = np.ones((len(SEGMENTS), len(trunks), len(trunks)))
    for depth in range(len(SEGMENTS)):
        for i, j in combinations(range(len(trunks)), 2):
            ours, theirs = profiles[i][depth], profiles[j][depth]
            # Profiles of frozen, shared layers are identical; ranks of ties would differ.
            alike = 1.0 if np.array_equal(ours, theirs) else spearmanr(ours, theirs).statistic
            affinity[depth, i, j] = affinity[depth, j, i] = alike
    return affinity


@torch.no_grad()
def similarity_profiles(trunk: Trunk, images: Tensor) -> list[NDArray[np.float64]]:
    """Return the strict upper triangle of the images' correlations at each branch point.

    Returns:
        D arrays of K (K - 1) / 2 Pearson correlations.
    """
    features: dict[str, list[Tensor]] = {names[-1]: [] for names in SEGMENTS}

    def keep(name: str, output: Tensor) -> None:
        features[name].append(output.flatten(1))

    hooks = [
        trunk.get_submodule(name).register_forward_hook(
            lambda layer, given, output, name=name: keep(name, output)
        )
        for name in features
    ]
    try:
        for begin in range(0, len(images), 8):
            trunk(images[begin : begin + 8].float())
    finally:
        for hook in hooks:
            hook.remove()
    above = np.triu_indices(len(images), k=1)
    return [np.corrcoef(torch.cat(parts).double().numpy())[above] for parts in features.values()]
