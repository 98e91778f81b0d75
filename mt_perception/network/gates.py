# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Skippable units: parts of a network that a frame may leave out, their prices and their gates."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.blocks import Bottleneck, DepthwiseConv
from mt_perception.network.dense import Refine
from mt_perception.network.detection import Level
from mt_perception.network.macs import convolution_macs
from mt_perception.network.multitask import TASKS, Multitask

SHARED = ''
"""The owner of a unit of the trunk: whatever task is wanted may keep it."""


@dataclass(frozen=True)
class Unit:
    """A part of the network whose input may stand for its output.

    Args:
        name: path of its module in the network.
        owner: the task whose head it is in, or SHARED.
        share: its multiply-accumulates over those of the whole network, all tasks.
    """

    name: str
    owner: str
    share: float


@dataclass(frozen=True)
class UnitCosts:
    """What a network costs, and what of it may be skipped.

    Args:
        units: what may be skipped, in the order in which it runs.
        parts: SHARED and every task → share of the multiply-accumulates of trunk and heads.
    """

    units: tuple[Unit, ...]
    parts: Mapping[str, float]

    def cost(self, keep: Tensor, tasks: Sequence[str] = TASKS) -> Tensor:
        """Give the share of the multiply-accumulates of the wanted parts that gates leave.

        Args:
            keep: (B, U) gates.
            tasks: the tasks that are wanted.

        Returns:
            (B,) 1 where everything is on.
        """
        shares = torch.tensor(
            [unit.share if unit.owner in (SHARED, *tasks) else 0.0 for unit in self.units]
        )
        whole = sum(self.parts[part] for part in (SHARED, *tasks))
        return 1 - ((1 - keep) * shares.to(keep)).sum(dim=1) / whole


def count_unit_costs(network: Multitask, size: tuple[int, int]) -> UnitCosts:
    """Find the units of a network and what they cost.

    Units are the bottlenecks of the trunk, the refinements of the dense heads and the second
    layer of each tower of the detection head: whatever maps a tensor to one of the same shape.

    Args:
        network: whose units.
        size: height and width of the image for which multiply-accumulates are counted.
    """
    layers = convolution_macs(network, size)
    whole = sum(layers.values())

    def share(name: str) -> float:
        return sum(v for path, v in layers.items() if f'{path}.'.startswith(f'{name}.')) / whole

    units = tuple(Unit(name, _owner(name), share(name)) for name in _skippable(network))
    parts = {task: share(task) for task in TASKS}
    return UnitCosts(units, {SHARED: 1 - sum(parts.values()), **parts})


def _owner(name: str) -> str:
    part = name.partition('.')[0]
    return part if part in TASKS else SHARED


def _skippable(network: Multitask) -> Iterator[str]:
    for name, module in network.named_modules():
        if isinstance(module, Bottleneck | Refine):
            yield name
        elif isinstance(module, Level):
            for tower in ('class_tower', 'box_tower'):
                last = len([*module.get_submodule(tower).children()]) - 1
                if isinstance(module.get_submodule(f'{tower}.{last}'), DepthwiseConv):
                    yield f'{name}.{tower}.{last}'


@contextmanager
def gating(network: Multitask, units: Sequence[Unit], keep: Tensor) -> Iterator[None]:
    """Within the context, every unit gives keep · its output + (1 − keep) · its input.

    A gate of exactly 0 makes its unit the identity, one of exactly 1 changes nothing.

    Args:
        network: the network.
        units: its units.
        keep: (B, U) gates of every image of the batch, 0 to 1.
    """

    def blend(gate: Tensor, given: Tensor, output: Tensor) -> Tensor:
        z = gate.reshape(-1, 1, 1, 1).to(output.dtype)
        return z * output + (1 - z) * given

    hooks = [
        network.get_submodule(unit.name).register_forward_hook(
            lambda _, given, output, gate=keep[:, index]: blend(gate, given[0], output)
        )
        for index, unit in enumerate(units)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def without(network: Multitask, names: Sequence[str]) -> Multitask:
    """Give a copy of a network in which some units are left out: a static, smaller graph."""
    smaller = copy.deepcopy(network)
    for name in names:
        smaller.set_submodule(name, nn.Identity())
    return smaller


def sample_gates(logits: Tensor, temperature: float) -> Tensor:
    """Draw gates of exactly 0 or 1 whose gradient is that of a soft draw (straight-through).

    Gumbel-sigmoid: σ((logit + ln u − ln(1 − u)) / temperature), u uniform. (Maddison et al.,
    arXiv 1611.00712; Meng et al., arXiv 1912.09906.) For training only.
    """
    u = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
    soft = torch.sigmoid((logits + torch.logit(u)) / temperature)
    return (soft >= 0.5).to(soft.dtype) + (soft - soft.detach())


def decide_gates(logits: Tensor) -> Tensor:
    """Give the gates without noise: the deployed rule."""
    return (logits >= 0).to(logits.dtype)


def kept_by_any_task(keep: Tensor, units: Sequence[Unit], wanted: Tensor) -> Tensor:
    """Or over the tasks wanted now: a unit stays if one of them keeps it.

    Args:
        keep: (B, T, U) each task's gates.
        units: a unit of a head is only that task's to keep.
        wanted: (B, T) 1 for the tasks wanted of each image, else 0.

    Returns:
        (B, U) gates.
    """
    votes = owners(units).to(keep)
    return 1 - (1 - keep * votes * wanted[:, :, None]).prod(dim=1)


def owners(units: Sequence[Unit]) -> Tensor:
    """Give (T, U): 1 where a task has a say about a unit."""
    return torch.tensor(
        [[float(unit.owner in (SHARED, task)) for unit in units] for task in TASKS]
    )


def budget_loss(spent: Tensor, budget: Tensor) -> Tensor:
    """Hinge on the budget: no force on an image that costs no more than it may.

    Args:
        spent: (B,) share of the multiply-accumulates.
        budget: (B,) share that was wanted.
    """
    return functional.relu(spent - budget).mean()
