# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""A trunk as a list of layers: their operations and inputs."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from mt_perception.errors import ModelError
from mt_perception.network.conv_blocks import ConvAct
from mt_perception.network.trunk import Features

IMAGE = 'image'


@dataclass(frozen=True)
class Layer:
    """One layer of a trunk.

    Args:
        name: unique name; for a convolution its path inside the trunk.
        section: submodule of the trunk.
        kind: convolution, add, join, double or pool.
        reads: names of its inputs, layers or "image", in order.
        kernel: pool: side of the window.
        channels: convolution: (inputs, outputs).
        depthwise: convolution: each output has one input.
    """

    name: str
    section: str
    kind: str
    reads: tuple[str, ...]
    kernel: int = 0
    channels: tuple[int, int] = (0, 0)
    depthwise: bool = False


@dataclass(frozen=True)
class Layers:
    """A trunk's layers in topological order, and the names of its outputs."""

    layers: tuple[Layer, ...]
    outputs: tuple[str, ...]


class Add(nn.Module):
    """The sum of two tensors."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + b


class Join(nn.Module):
    """Concatenation along channels, with an optional selection of channels.

    Args:
        index: channels to keep, in order; None keeps all.
    """

    index: Tensor | None

    def __init__(self, index: Sequence[int] | None = None) -> None:
        super().__init__()
        self.register_buffer('index', None if index is None else torch.tensor(list(index)))

    def forward(self, *x: Tensor) -> Tensor:
        joined = torch.cat(x, dim=1) if len(x) > 1 else x[0]
        return joined if self.index is None else joined.index_select(1, self.index)


class Double(nn.Module):
    """Upsampling by 2, nearest neighbour."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.interpolate(x, scale_factor=2.0, mode='nearest')


class Pool(nn.Module):
    """Max pooling over a square window with stride 1."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        return functional.max_pool2d(x, self.kernel, stride=1, padding=self.kernel // 2)


def operation(layer: Layer) -> nn.Module:
    """Return the module of a layer without weights."""
    kinds = {'add': Add, 'join': Join, 'double': Double}
    return Pool(layer.kernel) if layer.kind == 'pool' else kinds[layer.kind]()


def convolution(trunk: nn.Module, layer: Layer) -> nn.Conv2d:
    """Return a layer's convolution in a trunk."""
    conv = trunk.get_submodule(layer.name).conv
    assert isinstance(conv, nn.Conv2d)
    return conv


def copy_convolution(conv: nn.Conv2d, keep: Sequence[int] | None = None) -> ConvAct:
    """Copy a convolution with its activation; with `keep`, only these outputs.

    A depthwise convolution keeps only the inputs of the remaining outputs.
    """
    kept = list(range(conv.out_channels)) if keep is None else list(keep)
    depthwise = conv.groups > 1
    copied = ConvAct(
        len(kept) if depthwise else conv.in_channels,
        len(kept),
        conv.kernel_size[0],
        conv.stride[0],
        len(kept) if depthwise else 1,
    )
    with torch.no_grad():
        copied.conv.weight.copy_(conv.weight[kept])
        if conv.bias is not None and copied.conv.bias is not None:
            copied.conv.bias.copy_(conv.bias[kept])
    return copied


def read_layers(trunk: nn.Module) -> Layers:
    """Trace a trunk of convolutions with SiLU, sums, concatenations, upsampling and max pooling.

    Raises:
        ModelError: the trunk has another operation.
    """
    layers: list[Layer] = []
    names: dict[fx.Node, str] = {}
    outputs: tuple[str, ...] = ()
    for node in fx.symbolic_trace(trunk).graph.nodes:
        reads = tuple(names[source] for source in node.all_input_nodes if source in names)
        if node.op == 'placeholder':
            names[node] = IMAGE
        elif node.op == 'output':
            break
        elif node.target is Features:
            outputs = reads
        elif node.target is functional.silu:
            names[node] = reads[0]
        else:
            layers.append(_layer(trunk, node, reads))
            names[node] = layers[-1].name
    return Layers(_with_sections(layers), outputs)


def _layer(trunk: nn.Module, node: fx.Node, reads: tuple[str, ...]) -> Layer:
    if node.op == 'call_module':
        conv = trunk.get_submodule(str(node.target))
        activated = [user.target for user in node.users] == [functional.silu]
        if isinstance(conv, nn.Conv2d) and activated and conv.groups in (1, conv.in_channels):
            path = str(node.target).removesuffix('.conv')
            shape = (conv.in_channels, conv.out_channels)
            return Layer(path, path.split('.')[0], 'convolution', reads, 0, shape, conv.groups > 1)
    elif node.target is operator.add and len(reads) == 2:
        return Layer(node.name, '', 'add', reads)
    elif node.target is torch.cat:
        return Layer(node.name, '', 'join', reads)
    elif node.target is functional.interpolate and node.kwargs.get('mode') == 'nearest':
        return Layer(node.name, '', 'double', reads)
    elif getattr(node.target, '__name__', '').endswith('max_pool2d'):
        return Layer(node.name, '', 'pool', reads, kernel=cast('int', node.args[1]))
    raise ModelError(
        f'the trunk has the operation {node.target} at {node.name}; only convolutions followed by '
        'SiLU, sums, concatenations, upsampling and max pooling can be shared or pruned'
    )


def _with_sections(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """Assign layers without weights to the section of the next convolution."""
    section = ''
    placed = []
    for layer in reversed(layers):
        section = layer.section or section
        placed.append(replace(layer, section=section))
    return tuple(reversed(placed))
