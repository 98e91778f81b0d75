# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Counts multiply-accumulates of a module's convolutions and linear layers at a given size."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def count_macs(module: nn.Module, inputs: Sequence[Tensor]) -> int:
    """Run a module once and count its multiply-accumulates.

    Only convolutions and linear layers count: one multiply-accumulate per output value and weight
    of its filter.
    """
    total = 0

    def count(layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += output.numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.Linear):
            total += output.numel() * layer.in_features

    hooks = [
        layer.register_forward_hook(count)
        for layer in module.modules()
        if isinstance(layer, nn.Conv2d | nn.Linear)
    ]
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return total


def count_parameters(module: nn.Module) -> int:
    """Return the number of weights of a module."""
    return sum(parameter.numel() for parameter in module.parameters())


def convolution_macs(module: nn.Module, size: tuple[int, int]) -> dict[str, int]:
    """Count the multiply-accumulates of every convolution, by its path in a module.

    Args:
        module: takes an image (B, 3, H, W).
        size: height and width of the image.
    """
    found: dict[str, int] = {}

    def count(name: str, layer: nn.Conv2d, output: Tensor) -> None:
        found[name] = output.numel() * layer.weight[0].numel()

    hooks = [
        layer.register_forward_hook(lambda layer, _, output, name=name: count(name, layer, output))
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d)
    ]
    try:
        with torch.no_grad():
            module(torch.zeros(1, 3, *size))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def layer_macs(module: nn.Module, size: tuple[int, int]) -> dict[str, int]:
    """Count the multiply-accumulates of every convolution, by the path of its parent module.

    Args:
        module: takes an image (B, 3, H, W).
        size: height and width of the image.
    """
    return {name.rpartition('.')[0]: macs for name, macs in convolution_macs(module, size).items()}
