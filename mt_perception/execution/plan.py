# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A plan: the stages of one frame, each with its blocks, its tasks and a gate."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from mt_perception.image.optical_flow import OpticalFlow
from mt_perception.model.paths import FULL_PATH
from mt_perception.model.task_graph import Block

if TYPE_CHECKING:
    from mt_perception.execution.frame_run import FrameRun


class Gate(Protocol):
    """Decides, after the earlier stages of a frame, whether a stage runs."""

    def opens(self, run: FrameRun) -> bool:
        """Return whether the stage runs, given the tensors and results of the frame so far."""


@dataclass(frozen=True)
class Stage:
    """One step of a plan.

    Attributes:
        blocks: The blocks to run, in order. A block that an earlier stage has run is skipped.
        tasks: The tasks whose tensors are complete after the stage.
        results: The tensors that the post-processing of these tasks reads.
        gate: Decides whether the stage runs; None runs it always.
        releases: For each block, the tensors that no later block or task reads.
        optional: Tensors that are kept if a block of the stage computes them; a remote host does
            not return them.
        early: Whether the tasks end with their early outputs.
        early_exit: Whether the tasks end with their early outputs if the gate stays closed,
            instead of being skipped.
    """

    blocks: tuple[Block, ...]
    tasks: tuple[str, ...] = ()
    results: frozenset[str] = frozenset()
    gate: Gate | None = None
    releases: tuple[tuple[str, ...], ...] = ()
    optional: frozenset[str] = frozenset()
    early: bool = False
    early_exit: bool = False

    @cached_property
    def block_names(self) -> tuple[str, ...]:
        """Names of the blocks, in order."""
        return tuple(block.name for block in self.blocks)


@dataclass(frozen=True)
class Plan:
    """The work for one frame; made once, never changed.

    Attributes:
        stages: The stages, in order.
        path: Name of the path through the graph.
        reason: Why this plan was made, for an operator.
        scale: Factor on the long side of the network's input.
        reuse: Task → motion since its last result, for tasks that get their last result instead
            of a new one: warped along the motion, or unchanged if it is None.
        policy: The policy block that chose the path, if one ran. Its cost does not depend on the
            image size.
        not_due: Wanted tasks that wait for their rate.
        change: Largest change since the last results, in grey levels; None if not measured.
        age_ms: Age of the oldest reused result; None if nothing is reused.
        full_macs: Multiply-accumulates of the full path with all wanted tasks, for the budget.
        latency_share: Share of the full path's time that this plan is expected to take, with all
            gates open.
        first_share: The same with all gates closed; 0 without gates.
        threshold: Least gain for each fraction of the full path's multiply-accumulates that opens
            a gate after the first stage.
    """

    stages: tuple[Stage, ...] = ()
    path: str = FULL_PATH
    reason: str = 'all requested tasks'
    scale: float = 1.0
    reuse: Mapping[str, OpticalFlow | None] = field(default_factory=dict)
    policy: Block | None = None
    not_due: tuple[str, ...] = ()
    change: float | None = None
    age_ms: float | None = None
    full_macs: int = 0
    latency_share: float = 0.0
    first_share: float = 0.0
    threshold: float = 0.0

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of all stages, then the reused ones."""
        return (*(task for stage in self.stages for task in stage.tasks), *sorted(self.reuse))

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of all stages, each once, in order."""
        return tuple({b.name: b for stage in self.stages for b in stage.blocks}.values())

    @cached_property
    def block_names(self) -> tuple[str, ...]:
        """Names of the blocks of all stages, each once, in order."""
        return tuple(block.name for block in self.blocks)

    @cached_property
    def results(self) -> frozenset[str]:
        """The tensors that the post-processing of all stages reads."""
        return frozenset(tensor for stage in self.stages for tensor in stage.results)

    @cached_property
    def read(self) -> frozenset[str]:
        """The tensors that a block or the post-processing reads."""
        inputs = (tensor for block in self.blocks for tensor in block.inputs.values())
        return self.results.union(inputs, *(stage.optional for stage in self.stages))

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all blocks, each at the model's reference size."""
        return sum(block.macs for block in self.blocks)


def expected_share(plan: Plan, ran: Collection[str]) -> float:
    """Return the share of the full path's time that the blocks that ran are expected to take.

    Between closed and open gates it is linear in the multiply-accumulates.
    """
    first = plan.stages[0].blocks if plan.stages else ()
    least = sum(block.macs for block in first)
    if not plan.first_share or plan.macs <= least:
        return plan.latency_share
    macs = sum(block.macs for block in plan.blocks if block.name in ran)
    share = (macs - least) / (plan.macs - least)
    return plan.first_share + share * (plan.latency_share - plan.first_share)


def with_tensors(plan: Plan, tensors: frozenset[str]) -> Plan:
    """Return a plan that keeps these tensors, too, where its blocks compute them."""
    stages = []
    for stage in plan.stages:
        made = {block.tensor(output) for block in stage.blocks for output in block.outputs}
        stages.append(replace(stage, optional=tensors & made))
    return replace(plan, stages=with_releases(stages))


def with_releases(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return the stages with the tensors that each of their blocks may release (liveness).

    A result lives to the end of the frame; any other tensor lives until its last reader, which
    may be in a later stage.
    """
    keep = {tensor for stage in stages for tensor in stage.results | stage.optional}
    done: list[Stage] = []
    for stage in reversed(stages):
        found = releases(stage.blocks, keep)
        done.append(replace(stage, releases=found))
        keep |= {tensor for block in stage.blocks for tensor in block.inputs.values()}
    return tuple(reversed(done))


def releases(blocks: Sequence[Block], keep: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """Return, for each block, the tensors that have no reader once it has run.

    Args:
        blocks: The blocks, in the order in which they run.
        keep: Tensors that are read after all of them.
    """
    last_reader: dict[str, int] = {}
    for index, block in enumerate(blocks):
        for tensor in (*block.inputs.values(), *map(block.tensor, block.outputs)):
            last_reader[tensor] = index
    return tuple(
        tuple(t for t, last in last_reader.items() if last == index and t not in keep)
        for index in range(len(blocks))
    )
