# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""The manifest section ``early_exit``: gates that decide whether a task's later blocks run.

A task with ``early`` outputs can be served by its first stage alone (early exits: Teerapittayanon
et al., arXiv 1709.01686). The gate of a task reads tensors of the first stage and estimates the
gain of the later blocks on this frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mt_perception.errors import ModelError
from mt_perception.model.blocks import BlockFile, take_costs, take_file
from mt_perception.model.fields import Fields, strings
from mt_perception.model.task_graph import Block, TaskGraph

SECTION = 'early_exit'

GAIN = 'gain'
"""Output of a gate: float32 (1, 1)."""


@dataclass(frozen=True)
class EarlyExit:
    """The gates of a model.

    Attributes:
        gates: Task → the block that estimates the gain of the task's later blocks.
        thresholds: Pairs of budget and least gain for each fraction of the full path's
            multiply-accumulates, with rising budgets and falling thresholds. With the threshold,
            the mean cost over many images equals the budget.
        files: Name of a gate → its file.
    """

    gates: Mapping[str, Block] = field(default_factory=dict)
    thresholds: tuple[tuple[float, float], ...] = ()
    files: Mapping[str, BlockFile] = field(default_factory=dict)

    def threshold(self, budget: float) -> float:
        """Return the least gain for each fraction of the full path's multiply-accumulates."""
        budgets, least = zip(*self.thresholds, strict=True)
        return float(np.interp(budget, budgets, least))


NO_EXITS = EarlyExit()


def gate_name(task: str) -> str:
    """Return the block name of a task's gate."""
    return f'gate_{task}'


def check_early_outputs(full: TaskGraph, early: TaskGraph) -> None:
    """Check that a task's first stage is a part of its full path.

    Raises:
        ModelError: An early output is computed by a block that the full path does not run.
    """
    for task in full.tasks:
        blocks = {block.name for block in full.blocks_for([task])}
        other = [block.name for block in early.blocks_for([task]) if block.name not in blocks]
        if other:
            raise ModelError(
                f'manifest.tasks.{task}.early: block {other[0]!r} is not part of the full path; '
                f'blocks of the full path are {", ".join(sorted(blocks))}'
            )


def parse_early_exit(root: Fields, full: TaskGraph, early: TaskGraph) -> EarlyExit:
    """Read the section; a manifest without it has no gates.

    Args:
        root: The manifest.
        full: The graph of the tasks' outputs.
        early: The graph of the tasks' early outputs.

    Raises:
        ModelError: A field is missing, unknown or out of range, or a gate reads a tensor that the
            first stage of its task does not compute.
    """
    data: dict[object, object] = root.take_or(SECTION, {})
    if not data:
        return NO_EXITS
    where = f'manifest.{SECTION}'
    fields = Fields(data, where)
    rows: dict[object, object] = fields.take('gates', dict, bool)
    files: dict[str, BlockFile] = {}
    gates = {
        str(task): _gate(task, row, f'{where}.gates.{task}', full, early, files)
        for task, row in rows.items()
    }
    missing = [t for t in full.tasks if full.tasks[t] != early.tasks[t] and t not in gates]
    if missing:
        raise ModelError(f'{where}.gates: task {missing[0]!r} has early outputs and no gate')
    thresholds = _thresholds(fields.take('thresholds', dict, bool), f'{where}.thresholds')
    fields.finish()
    return EarlyExit(gates, thresholds, files)


def _gate(
    task: object,
    data: object,
    where: str,
    full: TaskGraph,
    early: TaskGraph,
    files: dict[str, BlockFile],
) -> Block:
    if task not in full.tasks or full.tasks[str(task)] == early.tasks[str(task)]:
        raise ModelError(f'{where}: {task!r:.60} is not a task with early outputs')
    name = gate_name(str(task))
    if name in full.blocks:
        raise ModelError(f'{where}: a block already has the name {name!r}; rename the block')
    fields = Fields(data, where)
    inputs = strings(fields.take('inputs', dict), f'{where}.inputs')
    made = {
        block.tensor(output) for block in early.blocks_for([str(task)]) for output in block.outputs
    }
    unknown = sorted(set(inputs.values()) - made)
    if unknown:
        raise ModelError(
            f'{where}.inputs: the first stage of {task!r} does not compute {unknown[0]!r:.60}; '
            f'it computes {", ".join(sorted(made))}'
        )
    files[name] = take_file(fields, where)
    gate = Block(name=name, inputs=inputs, outputs=(GAIN,), **take_costs(fields))
    fields.finish()
    return gate


def _thresholds(data: Mapping[object, object], where: str) -> tuple[tuple[float, float], ...]:
    pairs = sorted(
        (float(budget), float(least))
        for budget, least in data.items()
        if isinstance(budget, int | float) and isinstance(least, int | float)
    )
    falling = [least for _, least in pairs]
    if (
        len(pairs) != len(data)
        or not all(0 < budget <= 1 and math.isfinite(least) for budget, least in pairs)
        or falling != sorted(falling, reverse=True)
    ):
        raise ModelError(f'{where} must map budgets in (0, 1] to decreasing numbers')
    return tuple(pairs)
