# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fills the trunk and the detection head from a YOLOX-nano ONNX file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from mt_perception.errors import ModelError
from mt_perception.network.multitask import Multitask


def load_yolox(network: Multitask, path: Path) -> None:
    """Copy the checkpoint's weights into the trunk and the detection head.

    The graph is walked in its own order, which is the order in which the modules are declared;
    every shape is checked, so a checkpoint of another width or depth is refused.

    Args:
        network: what to fill, in place. The other heads are left as they are.
        path: the ONNX file, batch normalisation folded.

    Raises:
        ModelError: the graph has another number of convolutions or another shape.
    """
    theirs = _convolutions(path)
    ours = [
        (name, module)
        for part in (network.trunk, network.detection)
        for name, module in part.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    if len(ours) != len(theirs):
        raise ModelError(
            f'{path.name} has {len(theirs)} convolutions, the network has {len(ours)}; '
            'expected a YOLOX-nano checkpoint'
        )
    for index, ((name, module), (weight, bias)) in enumerate(zip(ours, theirs, strict=True)):
        value = torch.from_numpy(weight.copy())
        if index == 0 and weight.ndim == 4 and weight.shape[1:] == (12, 3, 3):
            value = unfold_focus(value)
        if value.shape != module.weight.shape:
            raise ModelError(
                f'{path.name}, convolution {index}: expected {tuple(module.weight.shape)} '
                f'for {name}, found {tuple(value.shape)}'
            )
        with torch.no_grad():
            module.weight.copy_(value)
            if module.bias is not None:
                module.bias.copy_(torch.from_numpy(bias.copy()))


def unfold_focus(weight: Tensor) -> Tensor:
    """Rearrange a Focus kernel (O, 12, 3, 3) into its 6x6 equivalent (O, 3, 6, 6).

    The twelve channels are the four pixel phases (row, column) = (0, 0), (1, 0), (0, 1), (1, 1),
    in the order in which YOLOX concatenates them, three colours each.
    """
    outputs = weight.shape[0]
    phases = weight.reshape(outputs, 2, 2, 3, 3, 3)  # (O, dx, dy, colour, ky, kx)
    return phases.permute(0, 3, 4, 2, 5, 1).reshape(outputs, 3, 6, 6).contiguous()


def _convolutions(path: Path) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Give weight and bias of every convolution in graph order."""
    graph = onnx.load(str(path)).graph
    values = {tensor.name: tensor for tensor in graph.initializer}
    found = []
    for node in graph.node:
        if node.op_type != 'Conv':
            continue
        if len(node.input) != 3 or any(name not in values for name in node.input[1:]):
            raise ModelError(f'{path.name}: {node.name} has no constant weight and bias')
        weight, bias = (numpy_helper.to_array(values[name]) for name in node.input[1:])
        found.append((weight, bias))
    return found
