# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A branched trunk: operations for subsets of the tasks, exported as one block per subset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from mt_perception.network.layers import IMAGE
from mt_perception.network.multitask import TASKS
from mt_perception.network.trunk import Features

LEVELS: Mapping[str, tuple[str, ...]] = {
    'detection': ('s8', 's16', 's32'),
    'segmentation': Features._fields,
    'depth': Features._fields,
}
"""Task → the levels of the pyramid that its head reads, in its order."""


class TaskFeatures(NamedTuple):
    """The pyramids of all heads; tensors may be shared between them."""

    detection: tuple[Tensor, ...]  # s8, s16, s32
    segmentation: tuple[Tensor, ...]  # s4, s8, s16, s32
    depth: tuple[Tensor, ...]

    @property
    def s8(self) -> Tensor:
        """Stride 8 of the detector."""
        return self.detection[0]

    @property
    def s16(self) -> Tensor:
        """Stride 16 of the detector."""
        return self.detection[1]

    @property
    def s32(self) -> Tensor:
        """Stride 32 of the detector."""
        return self.detection[2]


@dataclass(frozen=True)
class Step:
    """One operation of a branched trunk.

    Args:
        name: unique name.
        reads: names of its inputs, steps or "image".
        operation: the module.
    """

    name: str
    reads: tuple[str, ...]
    operation: nn.Module


@dataclass(frozen=True)
class Part:
    """All steps of one subset of the tasks; exported as one block.

    Args:
        tasks: the tasks.
        inputs: steps of other parts, or "image".
        outputs: steps that other parts or heads read.
        steps: its steps, in order.
    """

    tasks: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the block: `trunk` for all tasks, else `trunk_<tasks>`."""
        return '_'.join(('trunk', *(() if self.tasks == TASKS else self.tasks)))


class Branches(nn.Module):
    """A trunk of steps with outputs for every task.

    Args:
        steps: steps in topological order.
        taps: task → steps that its head reads, in the order of LEVELS.
    """

    def __init__(self, steps: Sequence[Step], taps: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__()
        self.operations = nn.ModuleDict({_key(step.name): step.operation for step in steps})
        self.reads = {step.name: step.reads for step in steps}
        self.taps = dict(taps)

    def forward(self, image: Tensor) -> TaskFeatures:
        """Compute every task's features from an image, (B, 3, H, W) float BGR, 0 to 255."""
        values = self.run(self.reads, {IMAGE: image})
        return TaskFeatures(
            **{task: tuple(values[name] for name in self.taps[task]) for task in TASKS}
        )

    def run(self, steps: Iterable[str], given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Run some steps in order; return their outputs together with the given values."""
        values = dict(given)
        for name in steps:
            operation = self.operations[_key(name)]
            values[name] = operation(*(values[read] for read in self.reads[name]))
        return values

    def only(self, steps: Sequence[str]) -> Branches:
        """Return a trunk of some of the steps, sharing their weights."""
        return Branches(
            [Step(name, self.reads[name], self.operations[_key(name)]) for name in steps], {}
        )

    def tasks_of(self) -> dict[str, tuple[str, ...]]:
        """Return the tasks whose heads depend on each step."""
        serves: dict[str, set[str]] = {name: set() for name in self.reads}
        for task, names in self.taps.items():
            for name in names:
                serves[name].add(task)
        for name in reversed(list(self.reads)):
            for read in self.reads[name]:
                if read != IMAGE:
                    serves[read] |= serves[name]
        return {name: tuple(t for t in TASKS if t in tasks) for name, tasks in serves.items()}

    def parts(self) -> tuple[Part, ...]:
        """Group the steps by the tasks that depend on them.

        The inputs of a step have at least the step's tasks, so blocks have no cyclic dependency,
        and a plan for some tasks runs exactly the steps that they need.
        """
        serves = self.tasks_of()
        read_by = [(read, serves[name]) for name, reads in self.reads.items() for read in reads]
        tapped = {name for names in self.taps.values() for name in names}
        parts = []
        for tasks in sorted(set(serves.values()), key=lambda t: (-len(t), t)):
            if not tasks:
                continue
            own = [name for name in self.reads if serves[name] == tasks]
            inputs = dict.fromkeys(r for n in own for r in self.reads[n] if r not in own)
            outputs = {r for r, reader in read_by if r in own and reader != tasks}
            outputs |= tapped & set(own)
            parts.append(
                Part(tasks, tuple(inputs), tuple(n for n in own if n in outputs), tuple(own))
            )
        return tuple(parts)


def _key(name: str) -> str:
    # torch does not allow dots in names of submodules.
    return name.replace('.', '_')
