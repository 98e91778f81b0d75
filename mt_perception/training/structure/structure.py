# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trains a network with the structure of a recipe, from single-task networks if needed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from importlib.util import find_spec
from pathlib import Path

from mt_perception.errors import ModelError
from mt_perception.network.branched import Branched
from mt_perception.network.interrogate import GatedTrunk
from mt_perception.network.multitask import TASKS, Multitask
from mt_perception.network.tree import grow_tree, mean_weights
from mt_perception.training.checkpoint import FILE, load_checkpoint, phase_of
from mt_perception.training.data.batches import SampleSet
from mt_perception.training.export.publish_model import averaged
from mt_perception.training.gating.train_gates import train_gates
from mt_perception.training.loop import Progress, Validate, train
from mt_perception.training.recipe import Recipe, Structure
from mt_perception.training.schedules.phases import TASK_OF
from mt_perception.training.structure.affinity import choose_structure

SINGLE_TASK = 'single_task'
HARD_SHARED = 'hard_shared'
TREE_FILE = 'tree.csv'


def train_structure(
    recipe: Recipe,
    sets: Sequence[SampleSet],
    labels: tuple[Sequence[str], Sequence[str]],
    initial_weights: Path | None,
    run: Path,
    validate: Validate | None = None,
    network: Multitask | None = None,
    board: bool = False,
    kept_tasks: Sequence[str] = (),
) -> Iterator[Progress]:
    """Train, or resume an interrupted run; yield after every step.

    Single-task networks are trained by the same recipe in folders beside the run; finished ones
    are reused.

    Args:
        recipe: the recipe.
        sets: the data.
        labels: detection and segmentation class names.
        initial_weights: YOLOX checkpoint, or None for random weights.
        run: folder of the run.
        validate: returns metrics of the averaged weights.
        network: hard_shared: network to train in place of a new one; with `gating`: the full
            network.
        board: write TensorBoard files of the last stage too.
        kept_tasks: hard_shared: tasks that `network` can do already.
    """
    structure = recipe.structure
    if recipe.gating is not None:
        if network is None:
            raise ModelError('a recipe with `gating` starts from a finished run; set --start')
        yield from train_gates(recipe, sets, labels, network, run)
        return
    if structure.kind == HARD_SHARED:
        yield from train(
            recipe, sets, labels, initial_weights, run, validate, network, board, kept_tasks
        )
        return
    plain = replace(recipe, structure=Structure())
    for task in TASKS:
        only, folder = single_task(plain, task), single_folder(run.parent, task)
        if not is_finished(only, folder):
            yield from train(only, sets, labels, initial_weights, folder)
    structured = build_structure(recipe, sets, run)
    second = replace(recipe, phases=structure.phases)
    yield from train(second, sets, labels, initial_weights, run, validate, structured, board)


def is_finished(recipe: Recipe, folder: Path) -> bool:
    """Return whether a folder has a finished run of this recipe."""
    if not (folder / FILE).exists():
        return False
    return phase_of(load_checkpoint(folder), recipe.phases)[0] >= len(recipe.phases)


def single_folder(folder: Path, task: str) -> Path:
    """Return the folder of a task's single-task network."""
    return folder / f'{SINGLE_TASK}_{task}'


def single_task(recipe: Recipe, task: str) -> Recipe:
    """Return a recipe without losses of other tasks, and without phases that have none left."""
    phases = []
    for phase in recipe.phases:
        weights = replace(
            phase.weights,
            **{f.name: 0.0 for f in fields(phase.weights) if TASK_OF.get(f.name, task) != task},
        )
        if task in weights.tasks:
            others = set(TASKS) - {task}
            phases.append(
                replace(
                    phase,
                    weights=weights,
                    learning_rates=_without(phase.learning_rates, others),
                    relative_rates=_without(phase.relative_rates, others),
                )
            )
    return replace(recipe, phases=tuple(phases))


def _without(rates: Mapping[str, float], others: set[str]) -> dict[str, float]:
    return {part: rate for part, rate in rates.items() if part.partition('.')[0] not in others}


def build_structure(recipe: Recipe, sets: Sequence[SampleSet], run: Path) -> Branched:
    """Build the structure of a recipe from the single-task networks beside the run.

    Shared layers start from the mean of the single-task weights. For Antler, tree.csv has the
    chosen tree and the Pareto front, and tree.svg plots them if matplotlib is installed.
    """
    run.mkdir(parents=True, exist_ok=True)
    singles = {task: averaged(load_checkpoint(single_folder(run.parent, task))) for task in TASKS}
    trunks = {task: network.trunk for task, network in singles.items()}
    heads = {task: singles[task].get_submodule(task) for task in TASKS}
    structure = recipe.structure
    if structure.kind == 'interrogate':
        missing = set(TASKS) - set(structure.targets)
        if missing:
            raise ModelError(f'structure.targets must name every task; it lacks {sorted(missing)}')
        shared = mean_weights([copy.deepcopy(trunks[TASKS[0]]), *(trunks[t] for t in TASKS[1:])])
        return Branched(GatedTrunk(shared, trunks, structure.targets), heads)
    choice = choose_structure(
        trunks, sets, recipe.canvases[0], structure.images, structure.variety
    )
    (run / TREE_FILE).write_text(choice.table(), encoding='utf-8')
    if find_spec('matplotlib') is not None:
        from mt_perception.training.structure.pareto_plot import draw_front

        draw_front(choice, run / 'tree.svg')
    tree = choice.chosen.tree
    return Branched(grow_tree(tree, trunks), heads, tree)
