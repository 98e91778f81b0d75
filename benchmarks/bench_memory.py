# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What a memory budget costs: bytes of weights loaded for each frame, and the time it takes.

First synthetic trees of 20 tasks under a budget of half their weights, in fractions of all
weights, in the steady state. `one path` is Antler's own setting: memory holds one task's blocks,
and of the next task it loads those not shared with the last. `apart`: half the weights fit, and
each task runs its blocks again. `shared`: half the weights fit, and the executor keeps tensors, so
that each block runs once. `worst` is the worst order that a search can find. `LRU` is `shared`
where what was used longest ago goes, not what is needed last; `least` is what no method can go
below: what does not fit has to be loaded.

Then a real model, its large blocks split, under several budgets.

Usage: python benchmarks/bench_memory.py [MODEL] [--trees 5]
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from interleaved import medians_ms
from split_blocks import cut_model
from task_trees import random_tree

from mt_perception.model.folder import open_model
from mt_perception.model.task_graph import TaskGraph
from mt_perception.model.weight_residency import Residency
from mt_perception.pipeline import Pipeline
from mt_perception.planning.order_problem import expected_cost
from mt_perception.planning.task_order import order_problem, planned_order
from mt_perception.resources import find_model
from mt_perception.types import Frame

BAR = 0.7
FRAMES = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('model', nargs='?', default='cspnano')
    parser.add_argument('--trees', type=int, default=5)
    arguments = parser.parse_args()
    synthetic(arguments.trees)
    with tempfile.TemporaryDirectory() as folder:
        real(find_model(arguments.model), Path(folder))


def synthetic(trees: int) -> None:
    print('bytes loaded for each frame / bytes of all weights, 20 tasks')
    print(
        'tree  one path: plan  worst  ratio   apart: plan  worst  ratio   '
        'shared: plan  worst  ratio    LRU  least'
    )
    for seed in range(trees):
        cells = rows(random_tree(random.Random(seed), 20))
        print(f'{seed:4} {cells[0]:>30} {cells[1]:>28} {cells[2]:>29} {cells[3]:>6} {cells[4]:>6}')
    print(f'aim: ratio <= {BAR}')


def rows(graph: TaskGraph) -> list[str]:
    """What each setting loads in the planned and in the worst order; LRU; and the least of all."""
    sizes = {name: 4 * block.parameters for name, block in graph.blocks.items()}
    total = sum(sizes.values())
    budget = max(total // 2, *sizes.values())
    problem = order_problem(graph, graph.tasks, lambda block: 4 * block.parameters)
    planned = planned_order(problem)
    settings: tuple[Callable[[Sequence[str]], float], ...] = (
        lambda order: expected_cost(problem, [problem.tasks.index(task) for task in order]),
        lambda order: steady(one_by_one(graph, order), Residency(sizes, budget)),
        lambda order: steady(each_once(graph, order), Residency(sizes, budget)),
    )
    cells = []
    for loaded in settings:
        plan, worst = loaded(planned) / total, worst_order(loaded, planned) / total
        cells.append(f'{plan:5.2f}  {worst:5.2f}  {plan / worst:5.2f}')
    oldest = steady(each_once(graph, planned), OldestFirst(sizes, budget)) / total
    return [*cells, f'{oldest:.2f}', f'{1 - budget / total:.2f}']


def one_by_one(graph: TaskGraph, order: Sequence[str]) -> list[str]:
    return [block.name for task in order for block in graph.blocks_for([task])]


def each_once(graph: TaskGraph, order: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(one_by_one(graph, order)))


def steady(sequence: Sequence[str], residency: Residency) -> float:
    """Bytes loaded for a frame once the first two have passed."""
    for frame in range(FRAMES + 2):
        if frame == 2:
            residency.loaded_bytes = 0
        residency.follow(sequence)
        for name in sequence:
            residency.admit(name)
    return residency.loaded_bytes / FRAMES


class OldestFirst(Residency):
    """Evicts what was used longest ago."""

    def admit(self, name: str) -> tuple[str, ...]:
        if name in self._resident:
            self._resident[name] = self._resident.pop(name)
        return super().admit(name)

    def _next_use(self, name: str) -> float:
        return -list(self._resident).index(name)


def worst_order(loaded: Callable[[Sequence[str]], float], order: Sequence[str]) -> float:
    """The most that a climb by swapping two tasks finds, from two random orders."""
    rng = random.Random(0)
    found = 0.0
    for _ in range(2):
        worst = rng.sample(order, len(order))
        most = loaded(worst)
        for _ in range(200):
            i, j = rng.sample(range(len(order)), 2)
            worst[i], worst[j] = worst[j], worst[i]
            if (now := loaded(worst)) >= most:
                most = now
            else:
                worst[i], worst[j] = worst[j], worst[i]
        found = max(found, most)
    return found


def real(model: Path, folder: Path) -> None:
    cut_model(model, folder)
    sizes = {name: len(content) for name, content in open_model(folder).contents.items()}
    total, least = sum(sizes.values()), max(sizes.values())
    print(f'\n{model.name} in {len(sizes)} blocks of {min(sizes.values()) / 1e6:.2f} to '
          f'{least / 1e6:.2f} MB, {total / 1e6:.2f} MB in all')  # fmt: skip
    print('budget/weights   MB loaded a frame   loaded/weights   latency    latency/all held')
    frame = Frame(np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8))
    shares = [share for share in (1.0, 0.75, 0.5, 0.35) if share * total >= least]
    pipelines = {
        f'{share:.2f}': Pipeline.load(folder, memory_mb=share * total / 1e6) for share in shares
    }
    cases = {name: lambda p=pipeline: p.run(frame) for name, pipeline in pipelines.items()}
    ms = medians_ms(cases, rounds=20)
    expected = pipelines['1.00'].run(frame)
    for name, pipeline in pipelines.items():
        loaded, found = [], expected
        for _ in range(FRAMES):
            found = pipeline.run(frame)
            loaded.append(found.execution.loaded_bytes)
        assert found.depth.depth.tobytes() == expected.depth.depth.tobytes()
        print(f'{name:>14} {np.mean(loaded) / 1e6:19.2f} {np.mean(loaded) / total:16.2f} '
              f'{ms[name]:10.1f} ms {ms[name] / ms["1.00"]:15.2f}')  # fmt: skip


if __name__ == '__main__':
    main()
