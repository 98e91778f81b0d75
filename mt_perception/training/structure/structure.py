# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Trains a network of the structure that a recipe asks for, from single-task nets where needed."""

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
from mt_perception.training.gating.gates import train_gates
from mt_perception.training.loop import Progress, Validate, train
from mt_perception.training.losses.objective import TASK_OF, active_tasks
from mt_perception.training.recipe import Recipe, Structure
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
) -> Iterator[Progress]:
    """Train, or go on with a run that was interrupted; yield after every step.

    Single-task nets are trained by the same recipe beside the run, in folders of their own; those
    that are there already are used.

    Args:
        recipe: what to do.
        sets: the data.
        labels: detection and segmentation class names.
        initial_weights: YOLOX checkpoint, or None for random weights.
        run: folder of the run.
        validate: gives figures for the averaged weights.
        network: hard_shared: what to train, where it is not what the recipe names; with
            `gating`: the full network.
        board: write TensorBoard's files of the last stage too.
    """
    structure = recipe.structure
    if recipe.gating is not None:
        if network is None:
            raise ModelError('a recipe with `gating` starts from a finished run; name it')
        yield from train_gates(recipe, sets, labels, network, run)
        return
    if structure.kind == HARD_SHARED:
        yield from train(recipe, sets, labels, initial_weights, run, validate, network, board)
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
    """Tell whether a folder has a run of this recipe's length that came to its end."""
    if not (folder / FILE).exists():
        return False
    return phase_of(load_checkpoint(folder), recipe.phases)[0] >= len(recipe.phases)


def single_folder(folder: Path, task: str) -> Path:
    """Give where a task's single-task net is trained."""
    return folder / f'{SINGLE_TASK}_{task}'


def single_task(recipe: Recipe, task: str) -> Recipe:
    """Give a recipe without the other tasks' losses, and without phases in which nothing is left.

    The trunk stands still in those phases that train heads only, as it did.
    """
    phases = []
    for phase in recipe.phases:
        weights = replace(
            phase.weights,
            **{f.name: 0.0 for f in fields(phase.weights) if TASK_OF.get(f.name, task) != task},
        )
        if task in active_tasks(weights):
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
    """Build the structure of a recipe from the single-task nets that were trained beside the run.

    What is shared starts from their mean: it is what the heads, which are theirs too, fit best.

    The tree that Antler takes is written to tree.csv with the front that it was taken from, and
    drawn as tree.svg where matplotlib is there.
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
