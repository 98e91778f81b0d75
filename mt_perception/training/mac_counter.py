# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Counts the multiply-accumulates of training: what really ran, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn


class MacCounter:
    """Counts convolutions and linear layers while it is open.

    Forward, a layer costs one multiply-accumulate for every weight and output cell. Backward it
    costs as much again for the gradient of its weights, where they are trained, and as much
    again for the gradient of its input, where that is wanted; both are counted when the gradient
    arrives, so a layer that no gradient reaches costs nothing backward.

    Args:
        networks: whatever may run in a step, teachers too.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.forward = 0
        self.backward = 0
        self._layers = [
            layer
            for network in networks
            for layer in network.modules()
            if isinstance(layer, nn.Conv2d | nn.Linear)
        ]

    @property
    def macs(self) -> int:
        """All multiply-accumulates since `counting` was entered."""
        return self.forward + self.backward

    @contextmanager
    def counting(self) -> Iterator[MacCounter]:
        """Count from zero what runs inside."""
        self.forward = self.backward = 0
        handles = [layer.register_forward_hook(self._ran) for layer in self._layers]
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def _ran(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        macs = output.numel() * weight[0].numel()
        self.forward += macs
        if output.requires_grad:
            wanted = int(weight.requires_grad) + int(inputs[0].requires_grad)
            # torch leaves this method without types.
            register: Callable[[Callable[[Tensor], None]], object] = output.register_hook
            register(partial(self._came_back, wanted * macs))

    def _came_back(self, macs: int, _: Tensor) -> None:
        self.backward += macs
