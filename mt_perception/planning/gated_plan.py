# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Builds the plan in which gates decide, after the first stage, which tasks run further blocks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from mt_perception.execution.frame_run import FrameRun
from mt_perception.execution.plan import Plan, Stage, with_releases
from mt_perception.model.early_exit import GAIN
from mt_perception.model.manifest import Manifest
from mt_perception.model.paths import FULL
from mt_perception.model.task_graph import Block
from mt_perception.planning.conditions import TaskCondition
from mt_perception.planning.path_plan import path_plan

GATED_PATH = 'gated'
"""Path of a plan with gates after the first stage."""


@dataclass(frozen=True)
class GainGate:
    """Opens the later blocks of a task if the gain is large enough for their cost.

    Blocks that other tasks have run already cost nothing. Without an estimate the gate stays
    closed: the task has its early result.

    Attributes:
        gate: The block that estimates the gain.
        blocks: The blocks that the gate would open.
    """

    gate: Block
    blocks: tuple[Block, ...]

    def opens(self, run: FrameRun) -> bool:
        """Return whether the gain reaches the plan's threshold."""
        gain = run.tensors.get(self.gate.tensor(GAIN))
        if gain is None or not np.isfinite(gain).all():
            return False
        macs = sum(block.macs for block in self.blocks if block.name not in run.block_ms)
        return float(gain.reshape(-1)[0]) >= run.plan.threshold * macs / run.plan.macs


def gated_tasks(
    manifest: Manifest, tasks: Collection[str], conditions: Sequence[TaskCondition] = ()
) -> tuple[str, ...]:
    """Return the tasks that have a gate; conditional tasks run by their condition instead."""
    conditional = {condition.task for condition in conditions}
    gates = manifest.early_exit.gates
    return tuple(t for t in manifest.tasks if t in gates and t in tasks and t not in conditional)


def gated_plan(
    manifest: Manifest, tasks: Iterable[str], conditions: Sequence[TaskCondition] = ()
) -> Plan:
    """Build the plan of a first stage, gates, and all later blocks.

    The first stage computes the early outputs of all tasks with a gate. Each of them then has a
    separate stage. It returns the outputs of the task or, if the gate stays closed, its early
    outputs. Tasks without a gate follow on the full path.

    Args:
        manifest: The model.
        tasks: The tasks to serve.
        conditions: Conditions of some of the tasks.
    """
    names = frozenset(tasks)
    gated = gated_tasks(manifest, names, conditions)
    gates = [manifest.early_exit.gates[task] for task in gated]
    first = manifest.early_graph.blocks_for(gated)
    known = {block.name for block in first}
    stages = [
        Stage(
            (*first, *gates),
            results=frozenset(
                [tensor for task in gated for tensor in manifest.early_graph.tasks[task]]
                + [gate.tensor(GAIN) for gate in gates]
            ),
        )
    ]
    for task, gate in zip(gated, gates, strict=True):
        later = tuple(b for b in manifest.graph.blocks_for([task]) if b.name not in known)
        stages.append(
            Stage(
                later,
                (task,),
                frozenset(manifest.graph.tasks[task]),
                GainGate(gate, later),
                early_exit=True,
            )
        )
    rest = path_plan(manifest.graph, names.difference(gated), FULL, conditions)
    return Plan(with_releases([*stages, *rest.stages]), GATED_PATH)
