# SPDX-FileCopyrightText: 2026 mt_perception authors
# SPDX-License-Identifier: Apache-2.0
"""Fast bfloat16 training on a CPU: channels-last weights, float32 where oneDNN is slow.

The gradient of a depthwise convolution with a stride takes 10 to 20 times as long in bfloat16 as
in float32, because oneDNN has no kernel for it. A network has few such layers, but they took a
third of its training time. All other kernels are fastest in channels-last layout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def autocast(precision: str | torch.dtype, device: str = 'cpu') -> torch.autocast:
    """Return the context for forward passes at a precision, which may be float32."""
    dtype = getattr(torch, precision) if isinstance(precision, str) else precision
    return torch.autocast(device, dtype, enabled=dtype != torch.float32)


class Float32Conv(nn.Conv2d):
    """A convolution that computes in float32 under autocast."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve in float32 and return the dtype of the input."""
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float()).to(x.dtype)


def prepare_for_bfloat16(network: nn.Module) -> None:
    """Convert weights to channels last, and strided depthwise convolutions to float32.

    Args:
        network: changed in place; values and names of its weights stay the same.
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
