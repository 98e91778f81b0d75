# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Loads pretrained weights of YOLOX and PicoDet from ONNX files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from mt_perception.errors import ModelError
from mt_perception.network.multitask import Multitask
from mt_perception.network.picodet import PicoDet

Weights = tuple[NDArray[np.float32], NDArray[np.float32]]

# Standard deviation of ImageNet in RGB, 0 to 255.
_RGB_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32).reshape(1, 3, 1, 1) * 255


def load_yolox(network: Multitask, path: Path) -> None:
    """Copy the checkpoint's weights into the trunk and the detection head.

    Args:
        network: changed in place; the other heads keep their weights.
        path: the ONNX file, with folded batch normalisation.

    Raises:
        ModelError: the number or shapes of the convolutions differ.
    """
    theirs = _convolutions(path)
    first = theirs[0][0]
    if first.ndim == 4 and first.shape[1:] == (12, 3, 3):
        theirs[0] = unfold_focus(torch.from_numpy(first.copy())).numpy(), theirs[0][1]
    _fill((network.trunk, network.detection), theirs, path, 'a YOLOX-nano checkpoint')


def load_picodet(detector: PicoDet, path: Path) -> None:
    """Copy the checkpoint's weights into a detector.

    Args:
        detector: changed in place.
        path: the ONNX file, with folded batch normalisation; its input is RGB, divided by
            ImageNet's standard deviation.

    Raises:
        ModelError: the number or shapes of the convolutions differ.
    """
    theirs = _convolutions(path)
    weight, bias = theirs[0]
    if weight.shape[1:2] == (3,):
        # This network's input is BGR, 0 to 255.
        theirs[0] = (weight / _RGB_DEVIATION)[:, ::-1], bias
    _fill((detector,), theirs, path, 'a PicoDet-S checkpoint')


def _fill(
    parts: Sequence[nn.Module], theirs: Sequence[Weights], path: Path, expected: str
) -> None:
    """Copy weights into the convolutions of some modules, in execution order.

    Modules are declared in execution order. Shapes are checked, so that checkpoints of another
    width or depth are refused.
    """
    ours = [
        (name, module)
        for part in parts
        for name, module in part.named_modules()
        if isinstance(module, nn.Conv2d)
    ]
    if len(ours) != len(theirs):
        raise ModelError(
            f'{path.name} has {len(theirs)} convolutions, the network has {len(ours)}; '
            f'expected {expected}'
        )
    for index, ((name, module), (weight, bias)) in enumerate(zip(ours, theirs, strict=True)):
        if weight.shape != module.weight.shape:
            raise ModelError(
                f'{path.name}, convolution {index}: expected {tuple(module.weight.shape)} '
                f'for {name}, found {weight.shape}'
            )
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(weight.copy()))
            if module.bias is not None:
                module.bias.copy_(torch.from_numpy(bias.copy()))


def unfold_focus(weight: Tensor) -> Tensor:
    """Rearrange a Focus kernel (O, 12, 3, 3) into its 6x6 equivalent (O, 3, 6, 6).

    The twelve channels are the four pixel phases (row, column) = (0, 0), (1, 0), (0, 1), (1, 1),
    in the order of YOLOX, three colours each.
    """
    outputs = weight.shape[0]
    phases = weight.reshape(outputs, 2, 2, 3, 3, 3)  # (O, dx, dy, colour, ky, kx)
    return phases.permute(0, 3, 4, 2, 5, 1).reshape(outputs, 3, 6, 6).contiguous()


def _convolutions(path: Path) -> list[Weights]:
    """Return weight and bias of every convolution in graph order."""
    try:
        # From bytes: data in other files is not read.
        graph = onnx.load_from_string(path.read_bytes()).graph
    except (OSError, DecodeError) as error:
        raise ModelError(f'{path} is missing or no ONNX file; name a checkpoint') from error
    values = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == 'Constant' and node.attribute[0].name == 'value':
            values[node.output[0]] = node.attribute[0].t
    found = []
    for node in graph.node:
        if node.op_type != 'Conv':
            continue
        if len(node.input) != 3 or any(name not in values for name in node.input[1:]):
            raise ModelError(f'{path.name}: {node.name} has no constant weight and bias')
        weight, bias = (numpy_helper.to_array(values[name]) for name in node.input[1:])
        found.append((weight, bias))
    if not found:
        raise ModelError(f'{path.name} has no convolution; name a checkpoint')
    return found
