# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Gates that decide, channel by channel, what a task shares and what it computes alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from mt_perception.network.blocks import ConvAct
from mt_perception.network.branches import LEVELS, TaskFeatures
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
# From here on the gates are as few as they will be, and what is open is trained.
_TIGHT_AT = 0.6
# What the layers' costs are compared at; any size would do, for all of them scale alike.
_COUNTED_SIZE = (160, 192)


class Gates(nn.Module):
    """The gates of all layers in one row of N channels, and what each channel costs.

    InterroGate (arXiv 2402.16848), section 3: α decides what a task reads, β what the shared
    branch reads.

    Args:
        costs: (N,) multiply-accumulates of each channel's filter.
        targets: (T,) τ, the share of the layers' multiply-accumulates that each task may use
            for itself.
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
        """Give z, (T, N) of 0 and 1, and the weights of the mix, (T, N) that add to one."""
        return straight_through(self.alpha, self.opened()), self.beta.softmax(dim=0)

    @torch.no_grad()
    def opened(self) -> Tensor:
        """Tell which gates are open, (T, N): those of the largest α that cost `allowed` at most.

        The paper opens those of α ≥ 0. The hinge is then one force among the losses, and where it
        leaves off says little about τ: with τ = 0.05 the detector kept 0.13 of the compute, and
        depth, which had been pushed beyond, 0.03.
        """
        order = self.alpha.argsort(dim=1, descending=True, stable=True)
        # Sums of thousands of small shares are not exact.
        fits = self.costs[order].cumsum(dim=1) <= self.allowed[:, None] + 1e-6
        return torch.zeros_like(fits).scatter(1, order, fits)

    def tighten(self, progress: float) -> None:
        """Set what tasks may use, from everything down to τ.

        The cube of what is left (arXiv 1710.01878, equation 1) closes most gates early, and the
        last ones slowly.

        Args:
            progress: of the training of the gates, 0 to 1.
        """
        left = max(0.0, 1 - progress / _TIGHT_AT) ** 3
        self.allowed.copy_(self.targets + (1 - self.targets) * left)

    def use(self) -> Tensor:
        """Give the share of compute that each task's own filters take, (T,)."""
        return self.opened().to(self.costs) @ self.costs

    def sparsity(self) -> Tensor:
        """L_sparse, the mean over tasks of max(0, share of the filters with α ≥ 0 − τ), ().

        The paper's equation 5 takes the mean of σ(α) over layers and channels. Here every
        channel weighs what its filter costs, so that of two filters that help alike the cheaper
        one comes first. The gradient is the paper's, that of σ(α).
        """
        share = straight_through(self.alpha, self.alpha >= 0) @ self.costs
        return (share - self.targets).clamp_min(0).mean()


def straight_through(alpha: Tensor, opened: Tensor) -> Tensor:
    """Give z with the gradient of σ(α) (InterroGate, equation 1)."""
    soft = alpha.sigmoid()
    return opened.to(soft.dtype) + (soft - soft.detach())


class GatedConvolution(nn.Module):
    """One gated layer: a shared branch ψ and a branch φ_t for every task.

    Args:
        shared: Ψ.
        own: Φ_t, in the order of the tasks.
    """

    def __init__(self, shared: ConvAct, own: Iterable[ConvAct]) -> None:
        super().__init__()
        self.shared = shared
        self.own = nn.ModuleList(own)

    def forward(self, streams: Sequence[Tensor], z: Tensor, mix: Tensor) -> tuple[Tensor, ...]:
        """Compute what the tasks and the shared branch read next.

        Equations 2 to 4: φ'_t = z_t ⊙ φ_t + (1 − z_t) ⊙ ψ and ψ' = Σ_t softmax(β)_t ⊙ φ'_t.

        Args:
            streams: φ'_t of the layer before, for every task, then ψ'; (B, C, h, w) each.
            z: (T, C') gates.
            mix: (T, C') weights that add to one over the tasks.

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
    """A trunk of gated layers behind a prefix that everybody shares.

    Training holds T + 1 trunks' weights and activations behind the prefix: with three tasks 3.2
    times the weights, 2.6 times the memory and 2.8 times the time of a step of hard sharing. What
    is left of it after `prune` is one trunk and the filters that the gates kept.

    Args:
        shared: the trunk that Ψ starts from: the tasks' mean.
        own: task → the trunk of its single-task net, which Φ_t starts from.
        targets: task → τ_t.
        prefix: the first submodules of the trunk, which have no gates.
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
                does = self.prefix[key(layer)] if plain else operation(layer)
                streams[layer.name] = _each(does, given)
        return TaskFeatures(
            **{
                task: tuple(streams[self.outputs[level]][index] for level in LEVELS[task])
                for index, task in enumerate(TASKS)
            }
        )


def key(layer: Layer) -> str:
    """Give a layer's name as a submodule's, which has no dots."""
    return layer.name.replace('.', '_')


def _each(does: nn.Module, given: Sequence[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """Do the same in every stream; once only where they are one and the same, in the prefix."""
    if all(stream is streams[0] for streams in given for stream in streams):
        return (does(*(streams[0] for streams in given)),) * len(given[0])
    return tuple(does(*tensors) for tensors in zip(*given, strict=True))
