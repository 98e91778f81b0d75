# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Skippable units of a network, their costs, and their gates (AdaMTL, arXiv 2304.08594)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.network.conv_blocks import Bottleneck, DepthwiseConv
from mt_perception.network.dense import Refine
from mt_perception.network.detection import Level
from mt_perception.network.macs import convolution_macs
from mt_perception.network.multitask import TASKS, Multitask

SHARED = ''
"""Owner of units in the trunk, which every task may keep."""


@dataclass(frozen=True)
class Unit:
    """A skippable module: input and output have the same shape, so it can be an identity.

    Args:
        name: path of the module in the network.
        owner: task of its head, or SHARED.
        share: its multiply-accumulates relative to the whole network with all tasks.
    """

    name: str
    owner: str
    share: float


@dataclass(frozen=True)
class UnitCosts:
    """Costs of a network and its skippable units.

    Args:
        units: skippable units, in execution order.
        parts: SHARED and every task → share of the multiply-accumulates of trunk and heads.
    """

    units: tuple[Unit, ...]
    parts: Mapping[str, float]

    def cost(self, keep: Tensor, tasks: Sequence[str] = TASKS) -> Tensor:
        """Return the cost with gates, relative to the cost without gates.

        Args:
            keep: (B, U) gates.
            tasks: the requested tasks.

        Returns:
            (B,), 1 if all gates are 1.
        """
        shares = torch.tensor(
            [unit.share if unit.owner in (SHARED, *tasks) else 0.0 for unit in self.units]
        )
        whole = sum(self.parts[part] for part in (SHARED, *tasks))
        return 1 - ((1 - keep) * shares.to(keep)).sum(dim=1) / whole


def count_unit_costs(network: Multitask, size: tuple[int, int]) -> UnitCosts:
    """Find the skippable units of a network and count their costs.

    Units are the bottlenecks of the trunk, the refinements of the dense heads and the second
    layer of each tower of the detection head: modules that keep the shape of their input.

    Args:
        network: the network.
        size: height and width of the image for the costs.
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
    """Within the context, every unit returns keep · output + (1 − keep) · input.

    A gate of 0 makes its unit the identity, a gate of 1 has no effect.

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
    """Return a copy of a network in which some units are identities."""
    smaller = copy.deepcopy(network)
    for name in names:
        smaller.set_submodule(name, nn.Identity())
    return smaller


def sample_gates(logits: Tensor, temperature: float) -> Tensor:
    """Sample binary gates with the gradient of soft gates (straight-through).

    Gumbel-sigmoid: σ((logit + ln u − ln(1 − u)) / temperature), u uniform. (Maddison et al.,
    arXiv 1611.00712; Meng et al., arXiv 1912.09906.) For training only.
    """
    u = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
    soft = torch.sigmoid((logits + torch.logit(u)) / temperature)
    return (soft >= 0.5).to(soft.dtype) + (soft - soft.detach())


def kept_by_any_task(keep: Tensor, units: Sequence[Unit], wanted: Tensor) -> Tensor:
    """Combine the tasks' gates: a unit is kept if any requested task keeps it.

    Args:
        keep: (B, T, U) gates of each task.
        units: the units; those of a head are kept by their own task only.
        wanted: (B, T) 1 for the requested tasks of each image, else 0.

    Returns:
        (B, U) gates.
    """
    votes = owners(units).to(keep)
    return 1 - (1 - keep * votes * wanted[:, :, None]).prod(dim=1)


def owners(units: Sequence[Unit]) -> Tensor:
    """Return (T, U): 1 if a task may keep a unit."""
    return torch.tensor(
        [[float(unit.owner in (SHARED, task)) for unit in units] for task in TASKS]
    )


def budget_loss(spent: Tensor, budget: Tensor) -> Tensor:
    """Return the hinge loss on the budget, (): zero for images within their budget.

    Args:
        spent: (B,) used share of the multiply-accumulates.
        budget: (B,) allowed share.
    """
    return functional.relu(spent - budget).mean()
