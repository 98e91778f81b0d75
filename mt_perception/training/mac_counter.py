# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Counts the multiply-accumulates of training steps, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn


class MacCounter:
    """Counts convolutions and linear layers within a context.

    A forward pass costs one multiply-accumulate per weight and output cell. A backward pass costs
    the same for the gradient of the weights, if they are trained, and the same for the gradient
    of the input, if it is needed. Backward costs count when the gradient arrives, so a layer
    without a gradient has none.

    Args:
        networks: all networks of a step, including teachers.
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
        """Multiply-accumulates since `counting` was entered."""
        return self.forward + self.backward

    @contextmanager
    def counting(self) -> Iterator[MacCounter]:
        """Reset the counts, and count everything within the context."""
        self.forward = self.backward = 0
        handles = [layer.register_forward_hook(self._count_forward) for layer in self._layers]
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def _count_forward(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        macs = output.numel() * weight[0].numel()
        self.forward += macs
        if output.requires_grad:
            gradients = int(weight.requires_grad) + int(inputs[0].requires_grad)
            # torch leaves this method without types.
            register: Callable[[Callable[[Tensor], None]], object] = output.register_hook
            register(partial(self._count_backward, gradients * macs))

    def _count_backward(self, macs: int, _: Tensor) -> None:
        self.backward += macs
