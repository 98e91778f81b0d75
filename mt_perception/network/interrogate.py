# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""InterroGate (arXiv 2402.16848): gates that select shared or task-specific channels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from mt_perception.network.branches import LEVELS, TaskFeatures
from mt_perception.network.conv_blocks import ConvAct
from mt_perception.network.layers import (
    IMAGE,
    Layer,
    convolution,
    copy_convolution,
    operation,
    read_layers,
)
from mt_perception.network.macs import layer_macs
from mt_perception.network.multitask import TASKS
from mt_perception.network.trunk import Features, Trunk

_INITIAL_ALPHA = 0.3
# From this progress on, the number of open gates is constant.
_TIGHT_AT = 0.6
# Image size for the layers' relative costs, which do not depend on it.
_COUNTED_SIZE = (160, 192)


class Gates(nn.Module):
    """Gates of all layers, concatenated to N channels (section 3).

    α gates the inputs of the tasks, β mixes the input of the shared branch.

    Args:
        costs: (N,) multiply-accumulates of each channel's filter.
        targets: (T,) τ, the share of the layers' compute for task-specific filters.
    """

    costs: Tensor
    targets: Tensor
    allowed: Tensor

    def __init__(self, costs: Tensor, targets: Sequence[float]) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((len(targets), len(costs)), _INITIAL_ALPHA))
        self.beta = nn.Parameter(torch.zeros(len(targets), len(costs)))
        self.register_buffer('costs', costs / costs.sum())
        self.register_buffer('targets', torch.tensor(list(targets)))
        self.register_buffer('allowed', torch.ones(len(targets)))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Return binary gates z (T, N), and mixing weights (T, N) with sum 1 over tasks."""
        return straight_through(self.alpha, self.opened()), self.beta.softmax(dim=0)

    @torch.no_grad()
    def opened(self) -> Tensor:
        """Return the open gates, (T, N): those of largest α within the budget `allowed`.

        The paper opens gates with α ≥ 0. The hinge loss then competes with the task losses and
        misses the target: with τ = 0.05 detection used 0.13 of the compute, depth 0.03.
        """
        order = self.alpha.argsort(dim=1, descending=True, stable=True)
        # Tolerance for rounding of the cumulative sum.
        fits = self.costs[order].cumsum(dim=1) <= self.allowed[:, None] + 1e-6
        return torch.zeros_like(fits).scatter(1, order, fits)

    def tighten(self, progress: float) -> None:
        """Reduce the budget from 1 to τ, with a cubic schedule (arXiv 1710.01878, equation 1).

        Args:
            progress: progress of the training of the gates, 0 to 1.
        """
        left = max(0.0, 1 - progress / _TIGHT_AT) ** 3
        self.allowed.copy_(self.targets + (1 - self.targets) * left)

    def use(self) -> Tensor:
        """Return the compute share of each task's own filters, (T,)."""
        return self.opened().to(self.costs) @ self.costs

    def sparsity(self) -> Tensor:
        """Return L_sparse, the mean over tasks of max(0, share of filters with α ≥ 0 − τ), ().

        Equation 5 has the mean of σ(α) over layers and channels. Here channels are weighted by
        the costs of their filters, which favours cheap filters. The gradient is that of σ(α).
        """
        share = straight_through(self.alpha, self.alpha >= 0) @ self.costs
        return (share - self.targets).clamp_min(0).mean()


def straight_through(alpha: Tensor, opened: Tensor) -> Tensor:
    """Return z with the gradient of σ(α) (equation 1)."""
    soft = alpha.sigmoid()
    return opened.to(soft.dtype) + (soft - soft.detach())


class GatedConvolution(nn.Module):
    """A gated layer: a shared branch Ψ and a branch Φ_t for every task.

    Args:
        shared: Ψ.
        own: Φ_t, in the order of the tasks.
    """

    def __init__(self, shared: ConvAct, own: Iterable[ConvAct]) -> None:
        super().__init__()
        self.shared = shared
        self.own = nn.ModuleList(own)

    def forward(self, streams: Sequence[Tensor], z: Tensor, mix: Tensor) -> tuple[Tensor, ...]:
        """Compute the inputs of the next layer for the tasks and the shared branch.

        Equations 2 to 4: φ'_t = z_t ⊙ φ_t + (1 − z_t) ⊙ ψ and ψ' = Σ_t softmax(β)_t ⊙ φ'_t.

        Args:
            streams: φ'_t of the previous layer for every task, then ψ'; (B, C, h, w) each.
            z: (T, C') gates.
            mix: (T, C') mixing weights with sum 1 over tasks.

        Returns:
            φ'_t for every task, then ψ'; (B, C', h', w') each.
        """
        shared = self.shared(streams[-1])
        read = [
            torch.lerp(shared, own(x), gate.to(shared.dtype)[:, None, None])
            for own, x, gate in zip(self.own, streams, z, strict=False)
        ]
        mixed = torch.zeros_like(shared)
        for x, weight in zip(read, mix, strict=True):
            mixed = torch.addcmul(mixed, x, weight.to(x.dtype)[:, None, None])
        return (*read, mixed)


class GatedTrunk(nn.Module):
    """A trunk of gated layers after a shared prefix.

    Training has T + 1 trunks after the prefix: with three tasks 3.2 times the weights, 2.6 times
    the memory and 2.8 times the step time of hard sharing. `prune` removes all filters that no
    gate selects.

    Args:
        shared: initial weights of Ψ: the mean over tasks.
        own: task → trunk of its single-task network, the initial weights of Φ_t.
        targets: task → τ_t.
        prefix: first submodules of the trunk, without gates.
    """

    def __init__(
        self,
        shared: Trunk,
        own: Mapping[str, Trunk],
        targets: Mapping[str, float],
        prefix: tuple[str, ...] = ('stem', 'stage2'),
    ) -> None:
        super().__init__()
        read = read_layers(shared)
        self.layers = read.layers
        self.outputs = dict(zip(Features._fields, read.outputs, strict=True))
        macs = layer_macs(shared, _COUNTED_SIZE)
        self.prefix = nn.ModuleDict()
        self.gated = nn.ModuleDict()
        self.spans: dict[str, slice] = {}
        costs: list[Tensor] = []
        for layer in read.layers:
            if layer.kind != 'convolution':
                continue
            copied = copy_convolution(convolution(shared, layer))
            if layer.section in prefix:
                self.prefix[key(layer)] = copied
                continue
            copies = [copy_convolution(convolution(own[task], layer)) for task in TASKS]
            self.gated[key(layer)] = GatedConvolution(copied, copies)
            begin = sum(map(len, costs))
            channels = layer.channels[1]
            self.spans[layer.name] = slice(begin, begin + channels)
            costs.append(torch.full((channels,), macs[layer.name] / channels))
        self.gates = Gates(torch.cat(costs), [targets[task] for task in TASKS])

    def forward(self, image: Tensor) -> TaskFeatures:
        """Compute every task's features from an image, (B, 3, H, W) float BGR, 0 to 255."""
        z, mix = self.gates()
        streams: dict[str, tuple[Tensor, ...]] = {IMAGE: (image,) * (len(TASKS) + 1)}
        for layer in self.layers:
            given = [streams[name] for name in layer.reads]
            if layer.name in self.spans:
                span = self.spans[layer.name]
                streams[layer.name] = self.gated[key(layer)](given[0], z[:, span], mix[:, span])
            else:
                plain = layer.kind == 'convolution'
                module = self.prefix[key(layer)] if plain else operation(layer)
                streams[layer.name] = _each(module, given)
        return TaskFeatures(
            **{
                task: tuple(streams[self.outputs[level]][index] for level in LEVELS[task])
                for index, task in enumerate(TASKS)
            }
        )


def key(layer: Layer) -> str:
    """Return a layer's name as the name of a submodule, without dots."""
    return layer.name.replace('.', '_')


def _each(module: nn.Module, given: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Apply a module to every stream, or once if all streams are the same tensor."""
    if all(stream is streams[0] for streams in given for stream in streams):
        return (module(*(streams[0] for streams in given)),) * len(given[0])
    return tuple(module(*tensors) for tensors in zip(*given, strict=True))
