# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""What makes training in bfloat16 fast on a CPU: layouts, and float32 where oneDNN is slow.

The gradient of a depthwise convolution with a stride takes ten to twenty times as long in bfloat16
as in float32 (there is no kernel for it); a network has few of them, but spent a third of its time
there. All other kernels are fastest where channels come last in memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Float32Conv(nn.Conv2d):
    """A convolution that is computed in float32 within autocast."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, and give the type that came."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float()).to(x.dtype)


def prepare_for_bfloat16(network: nn.Module) -> None:
    """Lay weights out channels last, and widen depthwise convolutions with a stride.

    Args:
        network: in place; its weights, their names and what it computes stay.
    """
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.to(memory_format=torch.channels_last)
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Conv2d and child.groups > 1 and child.stride != (1, 1):
                size, stride = child.kernel_size, child.stride
                wide = Float32Conv(
                    child.in_channels,
                    child.out_channels,
                    (size[0], size[1]),
                    (stride[0], stride[1]),
                    (size[0] // 2, size[1] // 2),
                    groups=child.groups,
                    bias=child.bias is not None,
                )
                wide.weight, wide.bias = child.weight, child.bias
                setattr(module, name, wide)
